"""Sinks beside the run store: they show a run while it works."""
