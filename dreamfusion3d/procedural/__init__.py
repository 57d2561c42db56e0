"""Procedural objects as signed distance functions, with captions, renders and training batches."""
