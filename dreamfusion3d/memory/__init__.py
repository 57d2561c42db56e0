"""Memory budgets, cost profiling and activation checkpointing.

Works on chains of functions with costs in bytes and seconds; independent of images, fields and priors.
"""
