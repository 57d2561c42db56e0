"""Multi-view priors: camera matrices, joint attention, and conversion of MVDream's own class."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch

from dreamfusion3d.cameras.orbit import orbit_cameras, turntable_cameras
from dreamfusion3d.core.config import PriorConfig
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.priors.pretrained import mvdream
from dreamfusion3d.priors.pretrained.diffusion_prior import DiffusionPrior
from dreamfusion3d.priors.pretrained.multiview import mvdream_camera_matrices
from tests.support import families


@pytest.fixture(scope="module")
def prior(tmp_path_factory: pytest.TempPathFactory) -> DiffusionPrior:
    folder: Path = families.build("mvdream", tmp_path_factory.mktemp("mvdream"))
    prior = load_prior(PriorConfig(name=str(folder), resolution=16))
    assert isinstance(prior, DiffusionPrior) and prior.camera_conditioned
    return prior


def noise(seed: int = 0) -> torch.Tensor:
    return torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def test_mvdream_camera_matrices_in_blenders_world():
    """Azimuth 0 looks along +Y from -Y; azimuth 90 lies at +X; up is +Z."""
    pose = mvdream_camera_matrices(orbit_cameras([0.0, 90.0], [0.0, 30.0], distance=7.0)).view(2, 4, 4)
    torch.testing.assert_close(pose[0, :3, 3], torch.tensor([0.0, -1.0, 0.0]), atol=1e-6, rtol=0)
    raised = torch.tensor([math.cos(math.pi / 6), 0.0, 0.5])
    torch.testing.assert_close(pose[1, :3, 3], raised, atol=1e-6, rtol=0)
    torch.testing.assert_close(pose[0, :3, 1], torch.tensor([0.0, 0.0, 1.0]), atol=1e-6, rtol=0)
    rotation = pose[:, :3, :3]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand(2, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(2))
    torch.testing.assert_close(rotation[:, :, 2], pose[:, :3, 3], atol=1e-6, rtol=0)  # it looks at the origin
    assert pose[:, 3].tolist() == [[0, 0, 0, 1]] * 2


def test_denoise_joins_only_views_of_one_scene(prior):
    x, t, cameras = noise(), torch.full((4,), 0.5), turntable_cameras(4, size=16)
    changed = x.clone()
    changed[3] = noise(9)[3]
    text = prior.encode_text(["a mug"] * 4)
    for views, touched in ((1, [3]), (2, [2, 3]), (4, [0, 1, 2, 3])):
        one, other = (prior.denoise(x_t, t, text, cameras, views=views) for x_t in (x, changed))
        moved = (one - other).abs().amax((1, 2, 3)) > 1e-6
        assert moved.nonzero().flatten().tolist() == touched


def test_multiview_attention_equals_attention_over_all_tokens(prior):
    """A scene of n views is attended to like one image with n times the tokens (reference in plain torch)."""
    processor = prior.network.attention
    layer = next(m for name, m in prior.network.unet.named_modules() if name.endswith("attn1"))
    tokens = torch.randn(4, 5, layer.to_q.in_features, generator=torch.Generator().manual_seed(0))
    processor.num_views = 2
    with torch.no_grad():
        together = layer(tokens)
        for scene in range(2):
            rows = tokens[2 * scene : 2 * scene + 2].flatten(0, 1)
            q, k, v = (
                f(rows).unflatten(-1, (layer.heads, -1)).transpose(0, 1) for f in (layer.to_q, layer.to_k, layer.to_v)
            )
            weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(-1)
            slow = layer.to_out[0]((weights @ v).transpose(0, 1).flatten(1))
            torch.testing.assert_close(together[2 * scene : 2 * scene + 2].flatten(0, 1), slow)
    processor.num_views = 1


def test_denoise_depends_on_the_camera(prior):
    x, t, text = noise()[:1], torch.full((1,), 0.5), prior.encode_text(["a mug"])
    front, side = (prior.denoise(x, t, text, orbit_cameras([a], 15.0)) for a in (0.0, 90.0))
    assert not torch.equal(front, side)
    full_turn = prior.denoise(x, t, text, orbit_cameras([360.0], 15.0))
    torch.testing.assert_close(front, full_turn, atol=1e-4, rtol=1e-4)


def test_build_mvdream_unet_equals_diffusers_network(tmp_path):
    """MVDream's own class differs only in the names of its tensors; none of its code is run."""
    families.build_mvdream_variants(tmp_path / "plain", tmp_path / "own")
    name = families.cache(tmp_path / "own", tmp_path / "hub")
    x, t, cameras = noise(), torch.full((4,), 0.5), turntable_cameras(4, size=16)
    results = []
    for source in (str(tmp_path / "plain"), str(tmp_path / "own"), name):
        prior = load_prior(PriorConfig(name=source, resolution=16))
        assert prior.camera_conditioned
        text = prior.encode_text(["a mug", "a chair"]).repeat(2)
        results.append(prior.denoise(x, t, text, cameras, views=4))
    torch.testing.assert_close(results[1], results[0], rtol=0, atol=0)
    torch.testing.assert_close(results[2], results[0], rtol=0, atol=0)


def test_load_prior_rejects_custom_network_classes(tmp_path):
    """The error is one line: for a folder, and for a hub id before any weights are downloaded."""
    families.build_mvdream_variants(tmp_path / "plain", tmp_path / "own")
    config, index = tmp_path / "own/unet/config.json", tmp_path / "own/model_index.json"
    original = config.read_text()
    for text, words in (
        (original.replace("camera_dim", "ip_dim"), "ip_dim in its config.*use MVDream"),
        (original.replace("context_dim", "else"), "unet is damaged"),
        (
            original.replace(mvdream.MVDREAM_CLASS, "DeepNet"),
            "holds a DeepNet.*never run: use a copy saved with diffusers' own classes",
        ),
    ):
        config.write_text(text)
        with pytest.raises(InputError, match=words):
            load_prior(str(tmp_path / "own"))
    index.write_text(index.read_text().replace(mvdream.MVDREAM_CLASS, "DeepNet"))
    for part in ("unet", "vae", "text_encoder"):
        shutil.rmtree(tmp_path / "own" / part)
    name = families.cache(tmp_path / "own", tmp_path / "hub")
    with pytest.raises(InputError, match="acme/tiny.* holds a DeepNet.*use a copy"):
        load_prior(name)
