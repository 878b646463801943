"""The paper's figures, and pictures of what operators do to an image."""
