"""Batches: many assets from one manifest, made by supervised worker processes, with a contact sheet to review."""
