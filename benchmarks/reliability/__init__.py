"""What a batch survives, and what supervision costs; see docs/batch.md."""
