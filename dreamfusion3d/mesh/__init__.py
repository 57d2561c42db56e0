"""From a density to an asset: extract, clean, simplify, unwrap, bake, export."""
