"""Optimization loops: score distillation of a field or a texture, and photometric reconstruction."""
