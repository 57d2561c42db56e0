"""Frozen diffusion priors behind one protocol, loaded by name, folder, hub id or plug-in."""
