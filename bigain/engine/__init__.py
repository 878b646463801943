"""One run, from validated settings to finished files."""
