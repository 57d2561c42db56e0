"""Every object is one solid of the expected genus, inside the bounds of the scene."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage

from dreamfusion3d.evaluation.ground_truth import GROUND_TRUTH_BOUND, ground_truth_grid, ground_truth_mesh
from dreamfusion3d.mesh.clean import extract_solid
from dreamfusion3d.mesh.quality import mesh_quality
from dreamfusion3d.procedural import sdf
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.objects import SIZES, ObjectBatch, sample_objects

FORMS = [
    (category.name, count, option, style)
    for category in CATEGORIES.values()
    for count, option in category.variants()
    for style in category.style_names
]
LARGEST_SIZES = ("normal", "tall", "wide")  # the others only shrink
HALF_EXTENT = 0.8
LARGER_HALF_EXTENT = {("snowman", "tall"): 0.87}  # its hat is the only part outside


def sample_variations(
    category: str, count: int, option: bool, size: str, number: int, *, style: str = "", seed: int = 0
) -> ObjectBatch:
    """``number`` random objects, and as many with every parameter at an end of its range."""
    generator = torch.Generator().manual_seed(seed)
    objects = sample_objects(category, count, size, 2 * number, option=option, style=style, generator=generator)
    variation = objects.variation.clone()
    variation[number:] = torch.sign(variation[number:])
    return replace(objects, variation=variation)


def box_surface(half_extent: float, samples: int = 21) -> torch.Tensor:
    """Points (n, 3) on the six faces of [-half_extent, half_extent]^3."""
    axis = torch.linspace(-half_extent, half_extent, samples)
    u, v = torch.meshgrid(axis, axis, indexing="ij")
    faces = []
    for end in (-half_extent, half_extent):
        w = torch.full_like(u, end)
        faces += [torch.stack(p, -1).reshape(-1, 3) for p in ((u, v, w), (u, w, v), (w, u, v))]
    return torch.cat(faces)


def distances(objects: ObjectBatch, points: torch.Tensor) -> torch.Tensor:
    """Distance of each object (row) at each point (column)."""
    n, m = len(objects), len(points)
    return objects.distance(points.expand(n, m, 3), torch.arange(n)[:, None].expand(n, m))


@pytest.mark.parametrize(("category", "count", "option", "style"), FORMS)
def test_shapes_stay_inside_the_bounds(category, count, option, style):
    """Nothing crosses the faces of the box, and nothing is outside; each object is connected, so it is inside."""
    outside = torch.rand(1500, 3, generator=torch.Generator().manual_seed(1)) * 3 - 1.5
    for size in LARGEST_SIZES:
        half_extent = LARGER_HALF_EXTENT.get((category, size), HALF_EXTENT)
        points = torch.cat([box_surface(half_extent), outside[outside.abs().amax(-1) > half_extent]])
        assert distances(sample_variations(category, count, option, size, 2, style=style), points).min() > 0, size


@pytest.mark.parametrize(("category", "count", "option", "style"), FORMS)
def test_shapes_are_one_solid_of_the_expected_genus(category, count, option, style):
    """Open vessels are one solid too, their walls; only handles make holes."""
    objects = sample_variations(category, count, option, "normal", 1, style=style)
    for index in range(len(objects)):
        grid = ground_truth_grid(objects, index, 64)
        assert ndimage.label(grid > 0)[1] == 1
        report = mesh_quality(extract_solid(grid, 0.0, GROUND_TRUTH_BOUND))
        assert report.watertight and report.manifold and report.components == 1
        assert report.genus == CATEGORIES[category].expected_genus(count, int(objects.style[index]))


@pytest.mark.parametrize("category", ["pitcher", "mug", "vase", "bowl", "goblet"])
def test_vessels_are_open_at_the_top_and_closed_at_the_bottom(category):
    objects = sample_variations(category, CATEGORIES[category].counts[0], False, "normal", 2)
    heights = torch.linspace(-0.8, 0.8, 321)
    axis = torch.stack([torch.zeros_like(heights), heights, torch.zeros_like(heights)], -1)
    for inside in distances(objects, axis) < 0:
        solid = heights[inside]
        assert solid.max() < 0.2, "the axis leaves the floor and meets nothing above"
        # the floor is thicker than a voxel of a standard mesh
        assert inside.sum() * 0.005 > 0.03


def test_ground_truth_mesh_is_in_scene_units():
    """The widest radius of a barrel follows from its parameters; size words scale the axes."""
    plain = sample_objects("barrel", 0, "normal", 1, generator=torch.Generator().manual_seed(3))
    tall = replace(plain, scale=torch.tensor([SIZES["tall"]]))
    low, high = mesh_quality(ground_truth_mesh(plain, 0, 64)).bounds
    radius = 0.42 * (1 + 0.06 * float(plain.variation[0, 0]))
    assert high[0] == pytest.approx(radius, abs=0.06) and low[0] == pytest.approx(-high[0], abs=0.01)
    stretched = mesh_quality(ground_truth_mesh(tall, 0, 64)).bounds[1]
    assert np.array(stretched) / np.array(high) == pytest.approx([0.88, 1.2, 0.88], abs=0.02)


def test_ground_truth_mesh_has_the_first_handle_at_plus_x():
    mug = ground_truth_mesh(sample_objects("mug", 1, "normal", 1, generator=torch.Generator()), 0, 48)
    _, high = mesh_quality(mug).bounds
    low, _ = mesh_quality(mug).bounds
    assert high[0] > -low[0] + 0.1, "the first handle lies at +X"


@pytest.mark.parametrize("name", ["sphere", "box", "cylinder", "torus", "capsule"])
def test_sdf_primitives_are_distances(name):
    """The gradient has unit length, and leads to the surface at that distance."""
    shapes = {
        "sphere": lambda x, y, z: sdf.sphere(x, y, z, 0.5),
        "box": lambda x, y, z: sdf.box(x, y, z, 0.4, 0.3, 0.5),
        "cylinder": lambda x, y, z: sdf.cylinder(x, y, z, 0.4, 0.5),
        "torus": lambda x, y, z: sdf.torus(x, y, z, 0.5, 0.2),
        "capsule": lambda x, y, z: sdf.capsule(x, y, z, (0.0, -0.3, 0.0), (0.2, 0.4, 0.1), 0.2, 0.2),
    }
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 - 1.5
    points.requires_grad_()
    distance = shapes[name](*points.unbind(-1))
    (gradient,) = torch.autograd.grad(distance.sum(), points)
    outside = distance.detach() > 0.01
    assert (gradient.norm(dim=-1)[outside] - 1).abs().max() < 1e-3
    landed = (points - distance[:, None] * gradient).detach()
    assert shapes[name](*landed.unbind(-1))[outside].abs().max() < 1e-3


def test_sdf_set_operations():
    a, b = torch.tensor([-1.0, -1.0, 1.0, 0.1]), torch.tensor([-2.0, 1.0, 1.0, 0.1])
    assert sdf.union(a, b).tolist() == pytest.approx([-2, -1, 1, 0.1])
    assert sdf.subtract(a, b).tolist() == pytest.approx([2, -1, 1, 0.1])
    smooth = sdf.smooth_union(a, b, 0.2)
    assert (smooth <= sdf.union(a, b) + 1e-6).all() and (smooth >= sdf.union(a, b) - 0.05 - 1e-6).all()
