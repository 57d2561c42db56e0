"""Measurements, each run as ``python -m benchmarks.<name>``; each prints one JSON object."""
