"""Shapes of the categories, grouped by use.

Each function takes point coordinates x, y, z and `ShapeParams`, and returns the signed distance of
every part: A, B and optionally an accent. Distances are exact to first order near the surface;
further away they may be too large, by a factor that `Category.relaxation` compensates.

Frame: +Y up, +Z front, within [-0.65, 0.65] before size scaling. The first handle is at +X, the
second at -X, a spout at -X. Seats and vehicles face +Z.
"""
