"""Browser viewer of a run, also while it trains."""
