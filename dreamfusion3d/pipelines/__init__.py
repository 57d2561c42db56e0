"""Whole runs: a prompt, photos or a mesh in, a finished folder of files out."""
