"""Example prior and guidance that dreamfusion3d finds through their entry points."""
