"""What finished assets are worth, in figures: geometry, topology, colours, retrieval, consistency."""
