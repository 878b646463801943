"""What is done with a backbone: one record per image."""
