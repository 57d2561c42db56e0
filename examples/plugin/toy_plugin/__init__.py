"""A prior and a guidance that dreamfusion3d finds by their entry points, once this is installed."""
