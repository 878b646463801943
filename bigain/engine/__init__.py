"""One run, from validated settings to finished files: the part that needs torch and the model."""
