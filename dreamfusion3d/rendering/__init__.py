"""Rendering of fields and of meshes."""
