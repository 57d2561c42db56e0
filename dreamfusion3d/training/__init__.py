"""Optimization loops: score distillation, photometric fitting, texture."""
