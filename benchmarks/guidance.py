"""The laws of the guidances, in two dimensions: where each one takes a cloud of particles.

    python -m benchmarks.guidance --out docs/images/guidance_laws.png

The prior is a mixture of Gaussians whose best denoiser is known in closed form, so what is seen
is the guidance's doing and no network's. "The prompt" keeps two of its four modes, at 70 and 30
per cent. A particle is a picture of two channels and one pixel, bounded as pictures are. Times
are uniform in a window whose upper end falls, as in a run.
"""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from dreamfusion3d.core.config import GuidanceConfig
from dreamfusion3d.guidance import Guidance, ScoreModel, load_guidance
from dreamfusion3d.training.schedules import linear_ramp

WINDOW = GuidanceConfig(t_range_start=(0.02, 0.98), t_range_end=(0.02, 0.15), vsd_lr=0.002)
# title, settings
CASES = (
    ("sds, scale 1", replace(WINDOW, type="sds")),
    ("sds, scale 7.5", replace(WINDOW, type="sds", scale=7.5)),
    ("csd", replace(WINDOW, type="csd")),
    ("ism, scale 1", replace(WINDOW, type="ism")),
    ("vsd, scale 1", replace(WINDOW, type="vsd")),
)
BOUND = 1.5
PANEL, EXTENT = 260, 1.6  # pixels, and half the width that they show


@dataclass(frozen=True)
class Mixture:
    """Round Gaussians of one deviation: with the prompt in the shares ``cond``, without it in ``uncond``."""

    means: Float[Tensor, "k 2"]
    cond: Float[Tensor, " k"]
    uncond: Float[Tensor, " k"]
    deviation: float

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        return torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)

    def log_density(
        self, x_t: Float[Tensor, "b 2 1 1"], t: Float[Tensor, " b"], shares: Float[Tensor, " k"]
    ) -> Float[Tensor, "b k"]:
        """log of each Gaussian's share of the density of x_t, up to the constant 2 pi."""
        alpha, sigma = self.alpha_sigma(t)
        variance = (alpha * self.deviation) ** 2 + sigma**2
        distance = (x_t.flatten(1)[:, None] - alpha[:, None, None] * self.means).square().sum(-1)
        return shares.log() - 0.5 * distance / variance[:, None] - variance.log()[:, None]

    def denoise(
        self, x_t: Float[Tensor, "b 2 1 1"], t: Float[Tensor, " b"], shares: Float[Tensor, " k"]
    ) -> Float[Tensor, "b 2 1 1"]:
        """E[x_0 | x_t]: each Gaussian's own answer, by its share in x_t."""
        alpha, sigma = (c[:, None, None] for c in self.alpha_sigma(t))
        gain = alpha * self.deviation**2 / ((alpha * self.deviation) ** 2 + sigma**2)
        own = self.means + gain * (x_t.flatten(1)[:, None] - alpha * self.means)
        owner = self.log_density(x_t, t, shares).softmax(-1)
        return (owner[..., None] * own).sum(1)[..., None, None]

    def teacher(self, settings: GuidanceConfig, particles: int) -> ScoreModel:
        def ask(x_t: Tensor, t: Tensor, scale: float) -> Tensor:
            cond, uncond = (self.denoise(x_t, t, shares) for shares in (self.cond, self.uncond))
            return uncond + scale * (cond - uncond)

        return ScoreModel(settings, self.alpha_sigma, ask, torch.zeros(particles, 0))

    def draw(self, count: int, generator: torch.Generator) -> Float[Tensor, "{count} 2"]:
        """Samples of what the prompt asks for."""
        rows = torch.multinomial(self.cond, count, replacement=True, generator=generator)
        return self.means[rows] + self.deviation * torch.randn(count, 2, generator=generator)


def square() -> Mixture:
    """Four modes; the prompt keeps the upper two, at 70 and 30 per cent."""
    means = torch.tensor([[-0.7, 0.5], [0.7, 0.5], [-0.7, -0.7], [0.7, -0.7]])
    return Mixture(means, torch.tensor([0.7, 0.3, 1e-9, 1e-9]), torch.full((4,), 0.25), 0.18)


def distil(
    mixture: Mixture,
    settings: GuidanceConfig,
    *,
    particles: int = 128,
    steps: int = 600,
    rate: float = 0.02,
    generator: torch.Generator,
    guidance: Guidance | None = None,
) -> Float[Tensor, "{particles} 2"]:
    """Particles after ``steps`` of Adam under a guidance, from a wide normal cloud."""
    guidance = guidance or load_guidance(settings)
    x = (0.8 * torch.randn(particles, 2, 1, 1, generator=generator)).requires_grad_()
    adam = torch.optim.Adam([x], betas=(0.5, 0.99))
    teacher = mixture.teacher(settings, particles)
    for step in range(steps):
        adam.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        low, high = (
            linear_ramp(step / steps, *ends) for ends in zip(settings.t_range_start, settings.t_range_end, strict=True)
        )
        t = low + (high - low) * torch.rand(particles, generator=generator)
        loss = guidance(x, t, teacher, generator=generator).loss
        (x.grad,) = torch.autograd.grad(loss, x)
        adam.step()
        with torch.no_grad():
            x.clamp_(-BOUND, BOUND)
    return x.detach().flatten(1)


def energy_distance(a: Float[Tensor, "n 2"], b: Float[Tensor, "m 2"]) -> float:
    """Szekely and Rizzo's: 2 E|a - b| - E|a - a'| - E|b - b'|; 0 for equal distributions."""
    return float(2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean())


def figures(mixture: Mixture, x: Float[Tensor, "n 2"], truth: Float[Tensor, "m 2"]) -> dict[str, float]:
    """How a cloud compares with what the prompt asks for."""
    nearest = torch.cdist(x, mixture.means).argmin(1)
    away = (x - mixture.means[nearest]).square().sum(1)
    spread = [float(x[nearest == k].std(0).mean()) for k in (0, 1) if int((nearest == k).sum()) > 2]
    zero = torch.zeros(len(x))
    cond, uncond = (
        mixture.log_density(x[..., None, None], zero, s).logsumexp(1) for s in (mixture.cond, mixture.uncond)
    )
    return {
        "energy_distance": round(energy_distance(x, truth), 4),
        "spread": round(sum(spread) / max(len(spread), 1), 4),
        "spread_asked": mixture.deviation,
        "left": round(float((nearest == 0).float().mean()), 3),
        "left_asked": round(float(mixture.cond[0]), 3),
        "distance_to_mode": round(float(away.sqrt().median()), 4),
        "log_odds_of_prompt": round(float((cond - uncond).median()), 3),
        "log_density": round(float(cond.median()), 3),
    }


def panel(mixture: Mixture, x: Float[Tensor, "n 2"], title: str) -> Image.Image:
    """The particles over the densities: the prompt's in blue, the others' in grey."""
    axis = torch.linspace(-EXTENT, EXTENT, PANEL)
    grid = torch.stack(torch.meshgrid(axis, -axis, indexing="xy"), -1).reshape(-1, 2, 1, 1)
    zero = torch.zeros(len(grid))
    cond, uncond = (
        mixture.log_density(grid, zero, s).logsumexp(1).exp().reshape(PANEL, PANEL)
        for s in (mixture.cond, mixture.uncond)
    )
    shade = torch.ones(PANEL, PANEL, 3)
    shade -= 0.22 * (uncond / uncond.max())[..., None]
    shade -= (cond / cond.max()).sqrt()[..., None] * torch.tensor([0.55, 0.3, 0.0])
    image = Image.fromarray((shade.clamp(0, 1).numpy() * 255).astype(np.uint8))
    pen = ImageDraw.Draw(image)
    for u, v in ((x * torch.tensor([1.0, -1.0]) / EXTENT + 1) * (PANEL / 2)).tolist():
        pen.ellipse((u - 1.6, v - 1.6, u + 1.6, v + 1.6), fill=(190, 40, 20))
    pen.text((8, PANEL - 18), title, fill=(30, 30, 30))
    pen.rectangle((0, 0, PANEL - 1, PANEL - 1), outline=(215, 215, 215))
    return image


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--particles", type=int, default=128)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/guidance_laws.png"))
    arguments = parser.parse_args()
    mixture = square()
    truth = mixture.draw(2000, torch.Generator().manual_seed(arguments.seed + 1))
    asked = truth[: arguments.particles]
    panels = [panel(mixture, asked, "what the prompt asks for")]
    reports = {"asked": figures(mixture, asked, truth)}
    for title, settings in CASES:
        generator = torch.Generator().manual_seed(arguments.seed)
        x = distil(mixture, settings, particles=arguments.particles, steps=arguments.steps, generator=generator)
        reports[title] = figures(mixture, x, truth)
        panels.append(panel(mixture, x, title))
    columns = 3
    sheet = Image.new("RGB", (columns * PANEL, -(-len(panels) // columns) * PANEL))
    for i, image in enumerate(panels):
        sheet.paste(image, (i % columns * PANEL, i // columns * PANEL))
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(arguments.out)
    print(
        json.dumps(
            {"benchmark": "guidance", "particles": arguments.particles, "steps": arguments.steps, "cases": reports},
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
