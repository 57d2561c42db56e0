"""Quality instant: assets straight from the prior's shapes."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from dreamfusion3d.core.config import QUALITIES, resolve_config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import Mesh
from dreamfusion3d.mesh.intersections import self_intersections
from dreamfusion3d.mesh.io.gltf import read_glb
from dreamfusion3d.mesh.simplify import simplify
from dreamfusion3d.pipelines.feature_vertices import fit_vertices
from dreamfusion3d.pipelines.meshing import MIN_WHOLE_IOU
from dreamfusion3d.pipelines.surface_extraction import extract_solid_surface
from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.priors.null import NullPrior
from dreamfusion3d.priors.shapes.model import ShapeModel
from dreamfusion3d.priors.shapes.network import ShapeNetwork
from dreamfusion3d.priors.shapes.train import new_network
from dreamfusion3d.priors.view_prompts import prompt_warnings, text_to_mesh_warnings
from dreamfusion3d.priors.weights import save_network
from tests.support.solids import Box, NearBoxes, TurnedBox, TwoBoxes


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


SMALL = ["mesh.grid_resolution=40", "mesh.max_faces=600", "mesh.texture_size=64", "mesh.texture_supersample=1"]


def test_a_part_that_is_left_out_shows_in_the_silhouettes():
    whole, parted = (extract_solid_surface(solid, 64, torch.device("cpu")) for solid in (Box(), TwoBoxes()))
    assert float(parted.silhouette_iou) < MIN_WHOLE_IOU < float(whole.silhouette_iou)


def test_a_small_part_that_almost_touches_is_kept():
    surface = extract_solid_surface(NearBoxes(), 96, torch.device("cpu"))
    assert surface.vertices[:, 1].max() == pytest.approx(0.3 * (8 / 6) + 0.01, abs=2e-3)
    assert float(surface.silhouette_iou) > MIN_WHOLE_IOU


def test_flat_faces_of_a_solid_are_flat_and_its_size_is_exact():
    surface = extract_solid_surface(Box(), 96, torch.device("cpu"))
    half = Box.half.numpy()
    assert np.abs(surface.vertices).max(0) == pytest.approx(half, abs=1e-3)
    inner = (np.abs(surface.vertices) < half - 0.03).sum(1) == 2  # on one face, away from its edges
    off = np.abs(np.abs(surface.vertices) - half).min(1)
    assert inner.sum() > 1000 and off[inner].max() < 1e-4


class SphereNetwork(ShapeNetwork):
    """In place of a trained network: part A is a sphere whose radius is the first number of the code, B a knob."""

    def __init__(self):
        super().__init__(code_size=9, num_parts=3)

    def forward(self, points, code):
        radius = 0.4 + 0.1 * code[:, :1]
        knob = (points - torch.tensor([0.0, 0.45, 0.0])).norm(dim=1, keepdim=True) - 0.15
        return torch.cat([points.norm(dim=1, keepdim=True) - radius, knob, torch.full_like(knob, 10.0)], 1)

    query = forward


def test_seeds_are_objects_and_parts_have_their_colors_and_surfaces(tmp_path, monkeypatch):
    prior = load_prior()
    prior.shapes = ShapeModel(tmp_path)
    prior.shapes.categories = frozenset({"apple"})
    monkeypatch.setattr(prior.shapes, "_networks", {"apple": SphereNetwork()})
    config = resolve_config("instant", sets=SMALL)
    assets = [
        text_to_mesh("a blue apple", out=tmp_path, seed=seed, config=config, prior=prior, folder=f"s{seed}")
        for seed in (0, 1)
    ]
    variations = [asset.record.instance["variation"] for asset in assets]
    assert variations[0] != variations[1]
    for asset, variation in zip(assets, variations, strict=True):
        mesh = read_glb(asset.main_file)
        extent = mesh.vertices.max(0) - mesh.vertices.min(0)
        radius = 0.4 + 0.1 * variation[0]
        assert extent[0] / extent[1] == pytest.approx(2 * radius / (0.6 + radius), rel=0.03)
        colors = mesh.texture.reshape(-1, 3) / 255.0
        blue, brown = (np.abs(colors - c).max(1) < 0.02 for c in ([0.13, 0.27, 0.8], [0.4, 0.27, 0.14]))
        assert blue.mean() > 0.5 and brown.any()
    standard = text_to_mesh(
        "a blue apple", out=tmp_path, config=resolve_config(sets=SMALL), prior=prior, folder="standard"
    )
    assert standard.record.instance == assets[0].record.instance and "turntable.mp4" in standard.record.files
    assert "turntable.mp4" not in assets[0].record.files
    assert not (standard.folder / "work" / "field.safetensors").exists()  # nothing was optimized
    again = [prior.sample_solid("an apple", generator=torch.Generator().manual_seed(1)).instance for _ in range(2)]
    assert again[0] == again[1]


def test_edges_and_corners_of_a_solid_are_sharp():
    surface = extract_solid_surface(TurnedBox(), 64, torch.device("cpu"))
    vertices, half = surface.vertices @ TurnedBox.axes.double().numpy(), Box.half.numpy()
    corners = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T * half
    edges = np.stack([np.linspace(-0.4, 0.4, 50), np.full(50, half[1]), np.full(50, half[2])], 1)
    for points, tolerance in ((corners, 0.01), (edges, 0.025)):
        assert np.linalg.norm(points[:, None] - vertices[None], axis=2).min(1).max() < tolerance
    # no face cuts an edge off: the middle of a face is as close to the surface as its corners
    middles = torch.from_numpy(surface.vertices[surface.faces].mean(1)).float()
    assert TurnedBox().distance(middles).abs().mean() < 1e-4
    assert len(self_intersections(Mesh(surface.vertices, surface.faces))) == 0


def test_bodies_of_a_solid_that_almost_touch_stay_together():
    class Pair(Box):
        def distance(self, x):
            left, right = (x - torch.tensor([side, 0.0, 0.0]) for side in (-0.32, 0.32))
            return torch.minimum(left.norm(dim=1), right.norm(dim=1)) - 0.3

    vertices = extract_solid_surface(Pair(), 64, torch.device("cpu")).vertices
    assert vertices[:, 0].min() < -0.6 and vertices[:, 0].max() > 0.6


def test_vertices_whose_faces_would_intersect_stay():
    """The field takes y to about -2 x y: two sheets, one above the other, would cross at x = 0."""

    class Crossing(Box):
        def distance(self, x):
            return x[:, 1] * (1 + 2 * x[:, 0])

    square = np.array([[-0.5, 0, -0.5], [-0.5, 0, 0.5], [0.5, 0, 0.5], [0.5, 0, -0.5]])
    sheets = [square + [0, 0.02, 0], 0.9 * square + [0, -0.021, 0.01]]
    mesh = Mesh(np.concatenate(sheets), np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]]))
    crossed = mesh.vertices * [1, 0, 1] - mesh.vertices * [0, 2, 0] * mesh.vertices[:, :1]
    assert len(self_intersections(mesh)) == 0 < len(self_intersections(Mesh(crossed, mesh.faces)))
    projected = fit_vertices(mesh, Crossing().distance, 0.1, torch.device("cpu"))
    assert len(self_intersections(projected)) == 0


def test_warnings_are_those_of_what_a_run_does(tmp_path):
    prior = load_prior()
    prior.shapes = ShapeModel(tmp_path)
    prior.shapes.categories = frozenset({"burger"})
    instant, refined = resolve_config("instant"), resolve_config("instant", sets=["mesh.refine_steps=5"])
    assert text_to_mesh_warnings(prior, "a burger", instant) == []
    with pytest.raises(InputError, match="knows no noun"):  # the U-Net does not know it
        text_to_mesh_warnings(prior, "a burger", refined)
    with pytest.raises(InputError, match="knows no shape"):
        text_to_mesh_warnings(prior, "a mug", instant)
    assert prompt_warnings(prior, "a mug", instant) == []  # --retexture needs no shape
    standard = resolve_config()
    assert text_to_mesh_warnings(prior, "a burger", standard) == []
    with pytest.raises(InputError, match="knows no noun"):
        text_to_mesh_warnings(prior, "a burger", resolve_config(sets=["field.init=volume"]))
    assert text_to_mesh_warnings(prior, "a mug", standard) == []  # distilled
    for setting in ("guidance.scale=3", "optim.steps=77", "prompts.negative=red", "optim.num_views=2"):
        (warning,) = text_to_mesh_warnings(prior, "a burger", resolve_config(sets=[setting]))
        assert "no effect" in warning and "field.init=volume" in warning
    for quality in QUALITIES:
        assert text_to_mesh_warnings(prior, "a burger", resolve_config(quality)) == []
    with pytest.raises(InputError, match="without optimization"):
        text_to_mesh_warnings(NullPrior("a mug"), "a mug", instant)


def test_thin_bands_are_simplified_without_intersections():
    """Bands of a barrel stand out by little: coarse faces of a band and of the staves below it cross easily."""
    solid = load_prior().sample_solid("a barrel", generator=generator())
    surface = extract_solid_surface(solid, 96, torch.device("cpu"))
    for faces in (8000, 4000):
        mesh = simplify(Mesh(surface.vertices, surface.faces), faces)
        assert len(mesh.faces) <= 1.2 * faces and len(self_intersections(mesh)) == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_seed_is_the_same_object_on_every_device():
    shapes = [
        load_prior(device=torch.device(d)).sample_solid("an apple", generator=generator()) for d in ("cpu", "cuda")
    ]
    assert shapes[0].instance == shapes[1].instance
    x = torch.rand(100, 3, generator=generator()) - 0.5
    torch.testing.assert_close(shapes[1].distance(x.cuda()).cpu(), shapes[0].distance(x), atol=1e-4, rtol=0)
    assert torch.equal(shapes[1].material(x.cuda()).cpu(), shapes[0].material(x))


def test_what_has_no_shape_is_one_line(tmp_path):
    prior = load_prior()
    prior.shapes = ShapeModel(tmp_path)
    config = resolve_config("instant", sets=SMALL)
    with pytest.raises(InputError, match="knows no shape for 'a mug'"):
        text_to_mesh("a mug", out=tmp_path / "out", config=config, prior=prior)
    with pytest.raises(InputError, match="needs an optimization"):
        text_to_mesh("a mug", out=tmp_path / "out", config=config, prior=prior, init=tmp_path / "a.glb")
    assert not (tmp_path / "out" / "a_mug" / "asset.json").exists()


def test_shapes_are_part_of_the_priors_digest(tmp_path):
    from dreamfusion3d.priors.pixel.prior import pixel_prior_sha256
    from dreamfusion3d.priors.vocabulary import embedded_folder

    folder = tmp_path / "prior"
    shutil.copytree(embedded_folder(), folder, ignore=shutil.ignore_patterns("shapes"))
    before = pixel_prior_sha256(folder).split("-")
    save_network(new_network("apple", 0), folder / "shapes" / "apple.safetensors", {})
    after = pixel_prior_sha256(folder).split("-")
    assert set(before) < set(after) and len(after) == len(before) + 1
