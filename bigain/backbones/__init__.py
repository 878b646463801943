"""Diffusion models behind one protocol: denoiser, schedule, latents, conditions."""
