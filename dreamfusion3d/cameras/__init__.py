"""Pinhole cameras: random orbits, paths, and the cameras of photos."""
