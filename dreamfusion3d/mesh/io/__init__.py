"""Mesh files: readers, writers, axes and units."""
