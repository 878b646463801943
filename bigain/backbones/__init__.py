"""Diffusion models behind one protocol."""
