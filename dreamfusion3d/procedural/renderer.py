"""Pictures of props by sphere tracing, anti-aliased at the silhouette, with known cameras."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import Cameras
from dreamfusion3d.core.shading import light_direction, shade
from dreamfusion3d.procedural.materials import masks
from dreamfusion3d.procedural.objects import Instances

STEPS = 48
BALL_RADIUS = 1.0  # every prop lies inside
PLANES = 5  # part A, part B, accent, and parts A and B inside the mask of a finish


@dataclass(frozen=True)
class Planes:
    """A picture before it is painted: the share of light that each part sends, and the opacity.

    rgb (premultiplied) = sum over parts of ``light[p] * colour[p]``: the colours of a stored
    picture can be drawn anew each time that it is shown.
    """

    light: Float[Tensor, "b 5 h w"]
    opacity: Float[Tensor, "b h w"]

    def paint(self, colours: Float[Tensor, "b 5 3"]) -> Float[Tensor, "b h w 3"]:
        """Premultiplied sRGB; ``colours`` is (picture, part, rgb)."""
        return torch.einsum("bphw,bpc->bhwc", self.light, colours)


@torch.no_grad()
def draw(
    props: Instances, cameras: Cameras, finish: str = "plain", light: Float[Tensor, "b 3"] | None = None
) -> Planes:
    """Picture ``i`` shows instance ``i`` from camera ``i`` (b of each), all with one finish. ``light`` are
    unit vectors towards it in world space; None: it goes with the camera.

    The surface traced lies half a pixel inside the true one, and a ray that misses it is
    covered by how near it came: coverage is then one half exactly on the true outline.
    """
    b, h, w = len(cameras), cameras.height, cameras.width
    origins, directions = (r.reshape(-1, 3) for r in cameras.rays())
    index = torch.arange(b, device=origins.device).repeat_interleave(h * w)
    pixel = (1 / cameras.focal)[index]  # width of a pixel per unit of distance
    half = 0.5 * pixel * cameras.distance[index]
    reached, nearest, at_nearest = _trace(props, origins, directions, index, half)
    coverage = torch.where(reached, torch.ones_like(nearest), (1 - nearest / (2 * half)).clamp(0, 1))

    planes = torch.zeros(b * h * w, PLANES, device=origins.device)
    seen = torch.nonzero(coverage > 0).squeeze(1)
    points = origins[seen] + at_nearest[seen, None] * directions[seen]
    part = props.parts(points, index[seen]).argmin(0)
    normals = surface_normals(props, points, index[seen])
    towards = light_direction(cameras.camera_to_world) if light is None else light
    brightness = shade(normals, towards[index[seen]])
    lit = coverage[seen] * brightness
    # an accent has no finish
    inside = masks(finish, props.unscaled(points, index[seen]), normals) * (part < 2)
    planes[seen, part] = lit * (1 - inside)
    planes[seen, torch.where(part < 2, part + 3, part)] += lit * inside
    return Planes(planes.view(b, h, w, PLANES).permute(0, 3, 1, 2), coverage.view(b, h, w))


def _trace(
    props: Instances, origins: Tensor, directions: Tensor, index: Tensor, half: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Whether each ray meets the inner surface, its least distance to it, and where that was."""
    rays = origins.shape[0]
    # rays that miss the ball are never marched
    along = -(origins * directions).sum(-1)
    miss2 = (origins * origins).sum(-1) - along * along
    radius2 = BALL_RADIUS**2
    depth_in = along - torch.sqrt((radius2 - miss2).clamp(min=0))
    depth_out = along + torch.sqrt((radius2 - miss2).clamp(min=0))
    safe_step = props.safe_step[index]
    t = depth_in.clone()
    nearest = torch.full((rays,), 1e3, device=origins.device)
    at_nearest = t.clone()
    reached = torch.zeros(rays, dtype=torch.bool, device=origins.device)
    active = torch.nonzero(miss2 < radius2).squeeze(1)
    for _ in range(STEPS):
        if active.numel() == 0:
            break
        here = t[active]
        distance = props.distance(origins[active] + here[:, None] * directions[active], index[active])
        distance = distance + half[active]
        closer = distance < nearest[active]
        nearest[active] = torch.where(closer, distance, nearest[active])
        at_nearest[active] = torch.where(closer, here, at_nearest[active])
        hit = distance < 3e-3
        reached[active] |= hit
        t[active] = here + (distance * safe_step[active]).clamp(min=4e-3)
        active = active[~hit & (t[active] < depth_out[active])]
    return reached, nearest, at_nearest


def surface_normals(
    props: Instances, points: Float[Tensor, "n 3"], index: Tensor, epsilon: float = 4e-3
) -> Float[Tensor, "n 3"]:
    """Unit gradients of the distance by the tetrahedron of differences."""
    corners = points.new_tensor([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]])
    gradient = torch.zeros_like(points)
    for corner in corners:
        gradient += corner * props.distance(points + epsilon * corner, index)[:, None]
    return gradient / gradient.norm(dim=-1, keepdim=True).clamp(min=1e-9)
