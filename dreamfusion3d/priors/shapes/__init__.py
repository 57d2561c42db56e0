"""Shapes of single objects: networks from a point and an instance's style to signed distances.

A prompt leaves open how long a handle is and how far a leg splays. Averaged over all of that, a shape is a haze; so
the seed draws one instance, and a network gives the signed distance of each of its parts. `network` holds the
network, `model` the folder of all of them, `train` their training. To add a shape, add a category (CONTRIBUTING.md)
and run ``train-shapes``.
"""
