"""Live view of a run in a browser: the field, its cameras, controls."""
