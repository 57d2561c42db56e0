"""Normalize captures: move and scale the cameras of photos so that the object lies in [-1, 1]^3."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dreamfusion3d.cameras.capture import Photos
from dreamfusion3d.cameras.pinhole import PinholeCameras
from dreamfusion3d.core.config import ReconstructionConfig
from dreamfusion3d.core.errors import InputError

VISIBLE_RADIUS = 0.82  # radius of the ball that all cameras see, as for `OrbitCameras`
MASKED_HALF_EXTENT = 0.65  # half the longest side of a masked object, the size of the prior's training objects
HULL_RESOLUTION = 48  # samples of the visual hull along an edge
MASK_ALPHA_THRESHOLD = 128  # smallest alpha of a pixel of the object
MAX_MISSED_FRACTION = 0.02  # fraction of the masks that a hull point may miss, as poses and masks are inexact
MIN_AXIS_EIGENVALUE = 1e-3  # per photo; below it the optical axes have no common point


@dataclass(frozen=True)
class SceneTransform:
    """scene position = scale * (file position turned to +Y up) + offset."""

    scale: float
    offset: tuple[float, float, float]

    def apply_to_cameras(self, cameras: PinholeCameras) -> PinholeCameras:
        pose = cameras.camera_to_world.clone()
        pose[:, :3, 3] = pose[:, :3, 3] * self.scale + pose.new_tensor(self.offset)
        return dataclasses.replace(cameras, camera_to_world=pose)

    def apply_to_photos(self, photos: Photos) -> Photos:
        return dataclasses.replace(photos, cameras=self.apply_to_cameras(photos.cameras))


def estimate_scene_transform(photos: Photos, settings: ReconstructionConfig) -> SceneTransform:
    """Return the transform of the settings, or estimate one that centers the object.

    The center is the point nearest to all optical axes; the ball around it that all cameras see gets the radius
    VISIBLE_RADIUS. If the photos are masked, the bounding box of the visual hull is centered and scaled to
    MASKED_HALF_EXTENT.

    Raises:
        InputError: The photos do not look at one point, or the settings give an offset without a scale.
    """
    if settings.scale > 0:
        return SceneTransform(settings.scale, settings.offset)
    if any(settings.offset):
        raise InputError("reconstruction.offset needs reconstruction.scale. Give both (--scale, --offset) or neither")
    center, radius = _focus_sphere(photos.cameras)
    initial = _transform_centering(center, VISIBLE_RADIUS / radius)
    if not photos.masked:
        return initial
    if (bounds := _visual_hull_bounds(initial.apply_to_photos(photos))) is None:
        return initial
    low, high = bounds
    scale = initial.scale * MASKED_HALF_EXTENT / float((high - low).max() / 2)
    return _transform_centering(center + (low + high) / 2 / initial.scale, scale)


def _transform_centering(center: Float[Tensor, "3"], scale: float) -> SceneTransform:
    x, y, z = (-center * scale).tolist()
    return SceneTransform(scale, (x, y, z))


def _focus_sphere(cameras: PinholeCameras) -> tuple[Float[Tensor, "3"], float]:
    """Return the point nearest to all optical axes, and the radius of the ball around it that all cameras see."""
    pose = cameras.camera_to_world.double()
    positions, axes = pose[:, :3, 3], -pose[:, :3, 2]
    projectors = torch.eye(3, dtype=torch.float64) - axes[:, :, None] * axes[:, None, :]
    total = projectors.sum(0)
    if float(torch.linalg.eigvalsh(total)[0]) < MIN_AXIS_EIGENVALUE * len(cameras):
        raise InputError("the optical axes are parallel, so the object cannot be located. Give --scale and --offset")
    center = torch.linalg.solve(total, (projectors @ positions[:, :, None]).sum(0)[:, 0])
    depth = ((center - positions) * axes).sum(-1)
    image_size = torch.tensor([cameras.width, cameras.height], dtype=torch.float64)
    margin = torch.minimum(cameras.principal_point.double(), image_size - cameras.principal_point.double())  # pixels
    half_angle = torch.atan((margin / cameras.focal.double()).amin(-1))
    radius = float((depth * torch.sin(half_angle)).min())
    if radius <= 0:
        raise InputError(
            "the photos do not look at one point from outside (a room seen from within?). Give --scale and --offset "
            "that put the object into [-1, 1]^3"
        )
    return center.float(), radius


def _visual_hull_bounds(photos: Photos) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]] | None:
    """Return the corners of the visual hull's bounding box (Laurentini 1994); None if the hull is empty."""
    coordinates = torch.linspace(-1, 1, HULL_RESOLUTION)
    points = torch.stack(torch.meshgrid(coordinates, coordinates, coordinates, indexing="ij"), -1).reshape(-1, 3)
    points = points[points.norm(dim=-1) < VISIBLE_RADIUS]  # others may be outside all photos
    num_missed = torch.zeros(len(points))
    for i in range(len(photos)):
        num_missed += ~_not_excluded(photos.select([i]), points)
    hull_points = points[num_missed <= MAX_MISSED_FRACTION * len(photos)]
    if not len(hull_points):
        return None
    cell = 1.0 / (HULL_RESOLUTION - 1)
    return hull_points.amin(0) - cell, hull_points.amax(0) + cell


def _not_excluded(photo: Photos, points: Float[Tensor, "n 3"]) -> Bool[Tensor, " n"]:
    """Mark points that project into the object's mask or outside the photo."""
    u, v, depth = photo.cameras.project(points)[0].unbind(-1)
    width, height = photo.cameras.width, photo.cameras.height
    in_view = (depth > 0) & (u >= 0) & (v >= 0) & (u < width) & (v < height)
    column, row = (x.nan_to_num().clamp(0, size - 1).long() for x, size in ((u, width), (v, height)))
    return ~in_view | (photo.rgba[0, row, column, 3] >= MASK_ALPHA_THRESHOLD)
