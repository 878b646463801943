"""Sinks beside the run store: what a run tells while it works.  The store stays the truth."""
