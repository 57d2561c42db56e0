"""Where in a file's world the scene lies: what moves and scales photos' cameras into [-1, 1]^3."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from dreamfusion3d.cameras.capture import Photos
from dreamfusion3d.cameras.pinhole import Pinholes
from dreamfusion3d.core.config import FitConfig
from dreamfusion3d.core.errors import InputError

SEEN_BALL = 0.82  # radius of what all cameras see: as the orbits of `cameras` have it
REACH = 0.65  # half the longest side of a cut-out object: as large as the props that priors know
HULL = 48  # samples along an edge of the box in which the object is looked for
INSIDE = 128  # alpha from which a pixel is the object's
MISSED = 0.02  # share of the photos whose outline a point may miss: poses and outlines are not exact
PARALLEL = 1e-3  # least eigenvalue, a photo, below which optical axes have no point in common


@dataclass(frozen=True)
class Placing:
    """scene = scale (turned file position) + offset."""

    scale: float
    offset: tuple[float, float, float]

    def moved(self, cameras: Pinholes) -> Pinholes:
        pose = cameras.camera_to_world.clone()
        pose[:, :3, 3] = pose[:, :3, 3] * self.scale + pose.new_tensor(self.offset)
        return dataclasses.replace(cameras, camera_to_world=pose)

    def placed(self, photos: Photos) -> Photos:
        return dataclasses.replace(photos, cameras=self.moved(photos.cameras))


def placing_of(photos: Photos, settings: FitConfig) -> Placing:
    """``settings``'s scale and offset, or those that put the object into the middle of the scene.

    The middle is the point nearest to all optical axes; the ball around it that all cameras see gets the
    radius SEEN_BALL. Where the object is cut out, its visual hull's box is centred and gets REACH.
    Raises InputError where the photos do not look at one point.
    """
    if settings.scale > 0:
        return Placing(settings.scale, settings.offset)
    if any(settings.offset):
        raise InputError("fit.offset needs fit.scale: give both (--scale, --offset) or neither")
    middle, radius = _looked_at(photos.cameras)
    first = _centred(middle, SEEN_BALL / radius)
    if not photos.cut_out:
        return first
    hull = _hull(first.placed(photos))
    if hull is None:
        return first
    low, high = hull
    scale = first.scale * REACH / float((high - low).max() / 2)
    return _centred(middle + (low + high) / 2 / first.scale, scale)


def _centred(middle: Float[Tensor, "3"], scale: float) -> Placing:
    x, y, z = (-middle * scale).tolist()
    return Placing(scale, (x, y, z))


def _looked_at(cameras: Pinholes) -> tuple[Float[Tensor, "3"], float]:
    """The point nearest to all optical axes, and the radius of the ball around it that all see whole."""
    pose = cameras.camera_to_world.double()
    places, axes = pose[:, :3, 3], -pose[:, :3, 2]
    across = torch.eye(3, dtype=torch.float64) - axes[:, :, None] * axes[:, None, :]
    total = across.sum(0)
    if float(torch.linalg.eigvalsh(total)[0]) < PARALLEL * len(cameras):
        raise InputError(
            "the photos' optical axes are parallel, so nothing says where the object is: give --scale and "
            "--offset"
        )
    middle = torch.linalg.solve(total, (across @ places[:, :, None]).sum(0)[:, 0])
    ahead = ((middle - places) * axes).sum(-1)
    room = torch.tensor([cameras.width, cameras.height], dtype=torch.float64)
    edge = torch.minimum(cameras.centre.double(), room - cameras.centre.double())  # pixels
    half = torch.atan((edge / cameras.focal.double()).amin(-1))
    radius = float((ahead * torch.sin(half)).min())
    if radius <= 0:
        raise InputError(
            "the photos do not look at one point from outside of it (a room seen from within?): give --scale "
            "and --offset, which put the object into [-1, 1]^3"
        )
    return middle.float(), radius


def _hull(photos: Photos) -> tuple[Float[Tensor, "3"], Float[Tensor, "3"]] | None:
    """Corners of the box around what no outline excludes (Laurentini 1994); None when nothing is left."""
    line = torch.linspace(-1, 1, HULL)
    points = torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1).reshape(-1, 3)
    points = points[points.norm(dim=-1) < SEEN_BALL]  # others may lie where no photo looks
    missed = torch.zeros(len(points))
    for i in range(len(photos)):
        missed += ~_inside(photos.select([i]), points)
    left = points[missed <= MISSED * len(photos)]
    if not len(left):
        return None
    cell = 1.0 / (HULL - 1)
    return left.amin(0) - cell, left.amax(0) + cell


def _inside(photo: Photos, points: Float[Tensor, "n 3"]) -> Bool[Tensor, " n"]:
    """Which points one photo shows in its object, or not at all."""
    u, v, depth = photo.cameras.project(points)[0].unbind(-1)
    shown = (depth > 0) & (u >= 0) & (v >= 0) & (u < photo.cameras.width) & (v < photo.cameras.height)
    column, row = (
        x.nan_to_num().clamp(0, limit - 1).long()
        for x, limit in ((u, photo.cameras.width), (v, photo.cameras.height))
    )
    return ~shown | (photo.rgba[0, row, column, 3] >= INSIDE)
