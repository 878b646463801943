"""The figures of the paper, and drawings of the scores of finished runs."""
