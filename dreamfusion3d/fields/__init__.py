"""Radiance fields over [-1, 1]^3: a hash grid, and the NeRF that reads it."""
