"""What fits in how much memory: budgets, measured costs, and which blocks to keep or to compute again.

Knows chains of functions and numbers of bytes and seconds; nothing of pictures, fields or priors.
"""
