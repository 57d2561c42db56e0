"""Every prop is one solid with the holes that its kind promises, inside the box of the scene."""

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

FORMS = [(kind.name, count, option) for kind in CATEGORIES.values() for count, option in kind.variants()]
REACH = 0.8
TALLER = {("snowman", "tall"): 0.87}  # its hat: the reach of the one that leaves the box


def styles(kind: str, count: int, option: bool, size: str, number: int, seed: int = 0) -> ObjectBatch:
    """``number`` random props, and as many with every variation at an end of its range."""
    generator = torch.Generator().manual_seed(seed)
    props = sample_objects(kind, count, size, 2 * number, option=option, generator=generator)
    variation = props.variation.clone()
    variation[number:] = torch.sign(variation[number:])
    return replace(props, variation=variation)


def box_surface(reach: float, samples: int = 29) -> torch.Tensor:
    """Points (n, 3) on the six faces of [-reach, reach]^3."""
    axis = torch.linspace(-reach, reach, samples)
    u, v = torch.meshgrid(axis, axis, indexing="ij")
    faces = []
    for end in (-reach, reach):
        w = torch.full_like(u, end)
        faces += [torch.stack(p, -1).reshape(-1, 3) for p in ((u, v, w), (u, w, v), (w, u, v))]
    return torch.cat(faces)


def distances(props: ObjectBatch, points: torch.Tensor) -> torch.Tensor:
    """(instance, point)."""
    n, m = len(props), len(points)
    return props.distance(points.expand(n, m, 3), torch.arange(n)[:, None].expand(n, m))


@pytest.mark.parametrize(("kind", "count", "option"), FORMS)
def test_props_stay_in_the_box(kind, count, option):
    """Nothing crosses the box's faces, nor is anything outside; with one body each, all is inside."""
    outside = torch.rand(3000, 3, generator=torch.Generator().manual_seed(1)) * 3 - 1.5
    for size in SIZES:
        reach = TALLER.get((kind, size), REACH)
        points = torch.cat([box_surface(reach), outside[outside.abs().amax(-1) > reach]])
        assert distances(styles(kind, count, option, size, 3), points).min() > 0, size


@pytest.mark.parametrize(("kind", "count", "option"), FORMS)
def test_a_prop_is_one_solid_of_its_genus(kind, count, option):
    """Also open vessels are one solid, their walls; only handles make holes."""
    props = styles(kind, count, option, "normal", 1)
    for index in range(len(props)):
        grid = ground_truth_grid(props, index, 64)
        assert ndimage.label(grid > 0)[1] == 1
        report = mesh_quality(extract_solid(grid, 0.0, GROUND_TRUTH_BOUND))
        assert report.watertight and report.manifold and report.components == 1
        assert report.genus == CATEGORIES[kind].expected_genus(count)


@pytest.mark.parametrize("kind", ["pitcher", "mug", "vase", "bowl", "goblet"])
def test_vessels_are_open_at_the_top_and_closed_below(kind):
    props = styles(kind, CATEGORIES[kind].counts[0], False, "normal", 2)
    heights = torch.linspace(-0.8, 0.8, 321)
    axis = torch.stack([torch.zeros_like(heights), heights, torch.zeros_like(heights)], -1)
    for inside in distances(props, axis) < 0:
        solid = heights[inside]
        assert solid.max() < 0.2, "the axis leaves the floor and meets nothing above"
        # the floor is thicker than a voxel of a standard mesh
        assert inside.sum() * 0.005 > 0.03


def test_the_true_mesh_is_in_world_units():
    """The barrel's widest radius is what its style says; size words scale the axes."""
    plain = sample_objects("barrel", 0, "normal", 1, generator=torch.Generator().manual_seed(3))
    tall = replace(plain, scale=torch.tensor([SIZES["tall"]]))
    low, high = mesh_quality(ground_truth_mesh(plain, 0, 64)).bounds
    radius = 0.42 * (1 + 0.06 * float(plain.variation[0, 0]))
    assert high[0] == pytest.approx(radius, abs=0.06) and low[0] == pytest.approx(-high[0], abs=0.01)
    stretched = mesh_quality(ground_truth_mesh(tall, 0, 64)).bounds[1]
    assert np.array(stretched) / np.array(high) == pytest.approx([0.88, 1.2, 0.88], abs=0.02)


def test_size_words_and_handles_are_geometry():
    mug = ground_truth_mesh(sample_objects("mug", 1, "normal", 1, generator=torch.Generator()), 0, 48)
    _, high = mesh_quality(mug).bounds
    low, _ = mesh_quality(mug).bounds
    assert high[0] > -low[0] + 0.1, "the first handle lies at +X"


@pytest.mark.parametrize("name", ["sphere", "box", "cylinder", "torus", "capsule"])
def test_simple_distances_are_distances(name):
    """Unit gradient, and the nearest surface point lies that far away."""
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


def test_set_operations():
    a, b = torch.tensor([-1.0, -1.0, 1.0, 0.1]), torch.tensor([-2.0, 1.0, 1.0, 0.1])
    assert sdf.union(a, b).tolist() == pytest.approx([-2, -1, 1, 0.1])
    assert sdf.subtract(a, b).tolist() == pytest.approx([2, -1, 1, 0.1])
    smooth = sdf.smooth_union(a, b, 0.2)
    assert (smooth <= sdf.union(a, b) + 1e-6).all() and (smooth >= sdf.union(a, b) - 0.05 - 1e-6).all()
