"""A distillation of a few seconds: an oracle prior, a coarse config, a small field, and priors that misbehave."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.config import Config, override_config
from dreamfusion3d.core.types import Render
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.priors.protocol import Prior, TextEmbedding
from dreamfusion3d.procedural.objects import ObjectSpec, sample_objects
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.volume import RenderSettings, render_field
from dreamfusion3d.training.distillation import distill_field
from dreamfusion3d.training.loop import Step
from tests.support.oracle import OraclePrior

IMAGE_SIZE, NUM_VIEWS, NUM_STEPS = 24, 2, 40
TEXTURE_SETTINGS = [
    "optim.num_views=2",
    "texture.resolution=32",
    "texture.lr=0.05",
    "texture.max_resolution=48",
    "texture.num_levels=4",
    "texture.log2_table_size=12",
    "mesh.retexture_steps=60",
    "mesh.texture_size=64",
    "guidance.scale=1",
]
VSD = {"guidance.type": "vsd", "guidance.vsd_width": 8}  # a guidance with a state


def make_generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_oracle_prior() -> OraclePrior:
    """Return the optimal prior of two red mushrooms."""
    generator = make_generator()
    return OraclePrior(
        sample_objects("mushroom", 0, "normal", 2, generator=generator),
        ObjectSpec("mushroom", "red"),
        num_camera_sets=2,
        views=NUM_VIEWS,
        resolution=IMAGE_SIZE,
        generator=generator,
        elevation_range_deg=(0.0, 20.0),
    )


def distillation_config(steps: int = NUM_STEPS, overrides: dict[str, Any] | None = None) -> Config:
    """Return coarse settings with larger steps than the defaults."""
    settings = {
        "optim.steps": steps,
        "optim.num_views": NUM_VIEWS,
        "optim.lr_hashgrid": 0.05,
        "optim.lr_mlp": 0.01,
        "guidance.scale": 1.0,
        "guidance.rescale": 0.0,
        "render.resolution": IMAGE_SIZE,
        "render.coarse_resolution": IMAGE_SIZE,
        "render.step_size": 0.05,
        "render.occupancy_grid_resolution": 16,
        "field.num_levels": 4,
        "field.log2_table_size": 12,
        "field.max_resolution": 32,
        "field.hidden_dim": 16,
    }
    return override_config(Config(), {**settings, **(overrides or {})})


def make_field(seed: int = 0) -> NerfField:
    return NerfField(distillation_config().field, generator=make_generator(seed))


def distill_oracle(
    prior: Any,
    field: NerfField,
    *,
    steps: int = NUM_STEPS,
    seed: int = 1,
    overrides: dict[str, Any] | None = None,
    **options: Any,
) -> Iterator[Step]:
    """Start `distill_field` with the oracle's cameras; ``options`` are its keyword arguments."""
    return distill_field(
        field,
        prior,
        prior.encode_text(["a mushroom", ""]),
        distillation_config(steps, overrides),
        generator=make_generator(seed),
        sample_cameras=prior.sample_cameras,
        **options,
    )


def same_parameters(a: nn.Module, b: nn.Module) -> bool:
    """Compare two state dicts bit by bit."""
    state, other = a.state_dict(), b.state_dict()
    return all(torch.equal(state[name], other[name]) for name in state)


def render_bank(field: NerfField, prior: OraclePrior) -> Render:
    """Render ``field`` from all cameras of the oracle's bank."""
    with torch.no_grad():
        return render_field(
            field,
            prior.camera_bank,
            occupancy=OccupancyGrid(16),
            generator=make_generator(),
            settings=RenderSettings(step_size=0.05),
        )


def silhouette_iou(field: NerfField, prior: OraclePrior) -> float:
    """Return the IoU over all cameras of the bank with the object that ``field`` is most like."""
    rendered = render_bank(field, prior).opacity[:, None] > 0.5
    truth = prior.images[:, :, 3] > 0
    return float(((rendered & truth).sum((0, 2, 3)) / (rendered | truth).sum((0, 2, 3))).max())


class PriorWrapper:
    """The oracle prior; subclasses change ``denoise``."""

    def __init__(self, prior: OraclePrior) -> None:
        self.prior: Prior = prior
        self.name, self.sha256, self.camera_conditioned = prior.name, prior.sha256, prior.camera_conditioned
        self.check_prompt, self.encode_text = prior.check_prompt, prior.encode_text
        self.alpha_sigma, self.encode = prior.alpha_sigma, prior.encode
        self.sample_cameras = prior.sample_cameras

    def denoise(self, x_t: Tensor, t: Tensor, text: TextEmbedding, cameras: OrbitCameras, *, views: int = 1) -> Tensor:
        return self.prior.denoise(x_t, t, text, cameras, views=views)


class NanPrior(PriorWrapper):
    """The same prior, but predictions are NaN in the calls ``bad`` (1-based)."""

    def __init__(self, prior: OraclePrior, bad: set[int]) -> None:
        super().__init__(prior)
        self.bad, self.calls = bad, 0

    def denoise(self, x_t: Tensor, t: Tensor, text: TextEmbedding, cameras: OrbitCameras, *, views: int = 1) -> Tensor:
        self.calls += 1
        x0 = super().denoise(x_t, t, text, cameras, views=views)
        return x0 * float("nan") if self.calls in self.bad else x0


class RecordingPrior(PriorWrapper):
    """The same prior; records the time of each call."""

    def __init__(self, prior: OraclePrior) -> None:
        super().__init__(prior)
        self.times: list[float] = []

    def denoise(self, x_t: Tensor, t: Tensor, text: TextEmbedding, cameras: OrbitCameras, *, views: int = 1) -> Tensor:
        self.times.append(float(t[0]))
        return super().denoise(x_t, t, text, cameras, views=views)


class RedPrior:
    """Predicts red wherever the render is opaque, from any camera."""

    name, sha256, camera_conditioned = "red", "0" * 64, True

    def check_prompt(self, prompt: str) -> list[str]:
        return []

    def encode_text(self, prompts: list[str]) -> TextEmbedding:
        return TextEmbedding(torch.zeros(len(prompts), 1))

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cos(t * torch.pi / 2), torch.sin(t * torch.pi / 2)

    def encode(self, render: Render, *, generator: torch.Generator) -> Tensor:
        self.opacity = render.opacity.detach()
        return torch.cat([render.rgb, render.opacity[..., None]], -1).permute(0, 3, 1, 2) * 2 - 1

    def denoise(self, x_t: Tensor, t: Tensor, text: TextEmbedding, cameras: OrbitCameras, *, views: int = 1) -> Tensor:
        red = torch.tensor([0.7, 0.0, 0.0, 1.0], device=x_t.device).view(1, 4, 1, 1)
        return self.opacity[:, None] * red * 2 - 1
