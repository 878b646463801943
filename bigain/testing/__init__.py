"""Tiny models and datasets in the exact layouts of the published ones, with random content."""
