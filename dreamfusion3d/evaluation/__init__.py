"""Evaluation of finished assets: geometry, topology, colors, retrieval, view consistency."""
