"""Assets of a library: one network per mesh, found by the words of its caption.

`surface` turns any mesh into signed distances and materials, `train` fits a network to them, `captions` finds the
assets that a prompt may mean, and `model` draws one of them. ``train-prior --assets-from`` does the training.
"""
