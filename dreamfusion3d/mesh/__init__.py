"""From a density to a textured mesh: extraction, cleaning, simplification, UV unwrapping, baking."""
