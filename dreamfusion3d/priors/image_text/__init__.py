"""Image-text encoders for evaluation and for DietNeRF's semantic loss."""
