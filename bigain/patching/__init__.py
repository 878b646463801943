"""Operators inside diffusers models: attention sites, hooks, report."""
