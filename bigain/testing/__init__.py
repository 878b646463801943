"""Tiny models and datasets in the layouts of the published ones, and made-up runs."""
