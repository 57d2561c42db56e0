"""The pixel-space prior that this package trains and ships."""
