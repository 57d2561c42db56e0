"""Training of shape networks on procedural objects, one category at a time.

The loss compares clamped distances, and their differences between neighboring points: the differences are what
normals are made of. Both weigh points near the surface most.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion3d.core.finite_differences import unit_gradient
from dreamfusion3d.priors.shapes.network import ShapeNetwork, object_code
from dreamfusion3d.priors.shapes.soap import Soap
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.objects import ObjectBatch, sample_objects
from dreamfusion3d.procedural.renderer import sdf_normals

NUM_OBJECTS, POINTS_PER_OBJECT = 6000, 32
BATCH_SIZE = 3072  # points per step
CLAMP = 0.15  # distances beyond it do not matter
NEIGHBOR_OFFSET = 0.008  # standard deviation of the offset between neighbors, in scene units
NEIGHBOR_WEIGHT = 0.1
LEARNING_RATE, WARM_UP_STEPS = 0.015, 100  # of SOAP
HELD_OUT_OBJECTS, HELD_OUT_SEED = 24, 99
NORMAL_EPSILON = 4e-3  # of finite differences, in scene units


@dataclass(frozen=True)
class SurfacePoints:
    """Points on the surfaces of objects."""

    objects: ObjectBatch
    index: Int[Tensor, " n"]  # object of each point
    points: Float[Tensor, "n 3"]


def new_network(category: str, seed: int) -> ShapeNetwork:
    """Return an untrained network of a category."""
    generator = torch.Generator().manual_seed(seed)
    num_forms = len(CATEGORIES[category].variants()) * CATEGORIES[category].num_styles
    objects = sample_category(category, num_forms, generator=generator)
    # styles may have fewer parts than their category
    num_parts = len(objects.part_distances(torch.zeros(num_forms, 3), torch.arange(num_forms)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed ^ zlib.crc32(category.encode()))
        return ShapeNetwork(object_code(objects).shape[1], num_parts)


def sample_category(category: str, count: int, *, generator: torch.Generator) -> ObjectBatch:
    """Draw ``count`` objects of a category; every form and style is equally likely."""
    forms = [(c, o, s) for c, o in CATEGORIES[category].variants() for s in CATEGORIES[category].style_names]
    per_form = -(-count // len(forms))
    objects = ObjectBatch.cat(
        [sample_objects(category, c, "normal", per_form, option=o, style=s, generator=generator) for c, o, s in forms]
    )
    return objects[torch.randperm(len(objects), generator=generator)[:count]]


@torch.no_grad()
def sample_surface_points(objects: ObjectBatch, per_object: int, *, generator: torch.Generator) -> SurfacePoints:
    """Project random points of the box onto the surfaces by Newton steps, dropping those that do not arrive."""
    index = torch.arange(len(objects)).repeat_interleave(per_object)
    points = torch.rand(len(index), 3, generator=generator) * 1.5 - 0.75
    for _ in range(4):
        # 0.9: distances may be too large
        points -= 0.9 * objects.distance(points, index)[:, None] * sdf_normals(objects, points, index)
    arrived = objects.distance(points, index).abs() < 5e-3
    return SurfacePoints(objects, index[arrived], points[arrived])


def train_network(network: ShapeNetwork, category: str, steps: int, seed: int) -> Iterator[float]:
    """Train in place, yielding the loss of each step; the same seed gives the same weights on one machine."""
    generator = torch.Generator().manual_seed(seed ^ zlib.crc32(category.encode()))
    objects = sample_category(category, NUM_OBJECTS, generator=generator)
    surface = sample_surface_points(objects, POINTS_PER_OBJECT, generator=generator)
    code = object_code(objects)
    optimizer = Soap(network.parameters(), LEARNING_RATE)
    for step in range(steps):
        optimizer.lr = LEARNING_RATE * min(1.0, step / WARM_UP_STEPS) * (1 - step / steps) ** 1.5
        loss = shape_loss(network, code, *_draw_points(surface, generator), objects, generator)
        network.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        yield float(loss.detach())


def shape_loss(
    network: ShapeNetwork,
    code: Float[Tensor, "m k"],
    points: Float[Tensor, "n 3"],
    index: Int[Tensor, " n"],
    num_near: int,
    objects: ObjectBatch,
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """Return the error of distances at all points, and of differences at the first ``num_near``."""
    true = objects.part_distances(points, index).T.clamp(-CLAMP, CLAMP)
    offset = NEIGHBOR_OFFSET * torch.randn(num_near, 3, generator=generator)
    neighbor, neighbor_index = points[:num_near] + offset, index[:num_near]
    true_difference = objects.part_distances(neighbor, neighbor_index).T.clamp(-CLAMP, CLAMP) - true[:num_near]
    found = network(torch.cat([points, neighbor]), code[torch.cat([index, neighbor_index])])
    difference = found[len(points) :] - found[:num_near]
    # beyond the clamp any distance of the right sign will do; a wrong one keeps its gradient, however far it is
    at_points = found[: len(points)]
    beyond = (CLAMP - true.sign() * at_points).clamp(min=0)
    error = torch.where(true.abs() < CLAMP, (at_points - true).abs(), beyond)
    weight = 0.01 / (0.01 + true.abs()) + 0.05
    difference_error = (weight[:num_near] * (difference - true_difference).abs()).mean() / NEIGHBOR_OFFSET
    return 10 * (weight * error).mean() + NEIGHBOR_WEIGHT * difference_error


def _draw_points(surface: SurfacePoints, generator: torch.Generator) -> tuple[Tensor, Tensor, int]:
    """Draw points on and close to surfaces, then somewhat farther, then anywhere; return the count of the first."""
    row = torch.randint(len(surface.points), (BATCH_SIZE,), generator=generator)
    points, sixth = surface.points[row].clone(), BATCH_SIZE // 6
    noise = torch.randn(4 * sixth, 3, generator=generator)
    points[sixth : 4 * sixth] += 0.012 * noise[sixth:]
    points[4 * sixth : 5 * sixth] += 0.05 * noise[:sixth]
    points[5 * sixth :] = torch.rand(BATCH_SIZE - 5 * sixth, 3, generator=generator) * 1.9 - 0.95
    return points, surface.index[row], 4 * sixth


@torch.no_grad()
def evaluate_network(network: ShapeNetwork, category: str) -> dict[str, float]:
    """Compare the network's surfaces with those of objects that training did not draw.

    Returns:
        The angle between normals in degrees (mean, and fraction below 10), the mean distance between the surfaces in
        scene units, and the fraction of the surface whose part is right, over all parts and in the worst one.
    """
    generator = torch.Generator().manual_seed(HELD_OUT_SEED)
    objects = sample_category(category, HELD_OUT_OBJECTS, generator=generator)
    true = sample_surface_points(objects, 1000, generator=generator)
    code = object_code(objects)[true.index]

    def distance(x: Tensor) -> Tensor:
        return network(x, code).amin(1)

    found = true.points.clone()
    for _ in range(3):
        found -= distance(found)[:, None] * unit_gradient(distance, found, NORMAL_EPSILON)
    normals = unit_gradient(distance, found, NORMAL_EPSILON)
    cosine = (sdf_normals(objects, true.points, true.index) * normals).sum(1)
    angle = torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))
    part = objects.part_distances(true.points, true.index).argmin(0)
    right = (network(true.points, code).argmin(1) == part).float()
    parts = [right[part == i] for i in range(network.config["num_parts"]) if (part == i).any()]
    return {
        "angle_deg": round(float(angle.mean()), 2),
        "below_10_deg": round(float((angle < 10).float().mean()), 4),
        "distance": round(float((found - true.points).norm(dim=1).mean()), 5),
        "part": round(float(right.mean()), 4),
        "worst_part": round(min(float(part.mean()) for part in parts), 4),
    }
