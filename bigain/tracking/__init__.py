"""Views of a run while it works, beside the run store; the store stays the truth."""
