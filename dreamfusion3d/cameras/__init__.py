"""Pinhole cameras: random orbits, camera paths, and captures of posed photos."""
