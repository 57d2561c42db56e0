"""Losses that a frozen prior gives to pictures. Nothing here knows of 3D."""

from dreamfusion3d.guidance.sds import sds

__all__ = ["sds"]
