"""Operators inside diffusers models: where they act, hooks, and what they changed."""
