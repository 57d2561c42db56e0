"""Step plans for a memory budget: profile the parts of a step, predict every plan, choose the fastest that fits."""
