"""What a batch survives, and what supervision costs. Each part is a command that prints JSON; see docs/batch.md."""
