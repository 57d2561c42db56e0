"""The props' shapes, by what they are used for. Each function takes point coordinates x, y, z and
a ``Style`` and returns the signed distance of every part: A, B, and perhaps an accent.

Distances are to first order exact near the surface; away from it they may be too long by a
factor that ``Kind.relaxation`` bounds.

Frame: +Y up, +Z front, within [-0.65, 0.65] before the size word is applied. Handles lie at
+X first, then -X. A spout lies at -X. Seats look and vehicles drive towards +Z.
"""
