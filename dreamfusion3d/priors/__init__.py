"""Frozen diffusion priors behind one protocol, `Prior` in `protocol.py`.

To add one: a class with the methods of `Prior`, passed as ``text_to_mesh(..., prior=...)``. By name: an entry point
``dreamfusion3d.priors`` in any package, or a branch of `load_prior` in `loading.py`. For another diffusers pipeline:
a row of `FAMILIES` in `pretrained/families.py`.
"""
