"""A small world of props as signed distances: kinds, captions, pictures, training batches."""
