"""Lambertian shading by one diffuse light fixed to the camera, over an ambient term.

The embedded prior's training images and the field distilled from it are shaded alike, so the field can keep the light
out of its albedo (DreamFusion, arXiv 2209.14988, section 3.2, equation 4).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core.backends import constant_like

AMBIENT = 0.4
DIFFUSE = 0.6
LIGHT_IN_CAMERA = (0.35, 0.55, 0.76)  # right, up, towards the viewer; unit length to 1 %
BACKGROUND_GRAY = 0.86  # sRGB, behind images for people and image encoders
MEAN_SHADING = 0.8  # of a pixel whose normal is unknown


def light_direction(camera_to_world: Float[Tensor, "b 4 4"]) -> Float[Tensor, "b 3"]:
    """Return unit vectors from the object towards each camera's light, in world space."""
    camera_direction = constant_like(LIGHT_IN_CAMERA, camera_to_world)
    camera_direction = camera_direction / camera_direction.norm()
    return camera_to_world[:, :3, :3] @ camera_direction


def lambert_shading(normals: Float[Tensor, "*n 3"], light: Float[Tensor, "*#n 3"]) -> Float[Tensor, "*n"]:
    """Return the factor on the albedo, in [AMBIENT, AMBIENT + DIFFUSE], for unit normals."""
    return AMBIENT + DIFFUSE * torch.clamp((normals * light).sum(-1), min=0)
