"""Many assets from one manifest: rows, plan, supervisor of worker processes, table, contact sheet."""
