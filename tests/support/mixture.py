"""A prior known in closed form, and particles distilled from it: what a guidance does when no network errs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core.config import GuidanceConfig
from dreamfusion3d.guidance import Guidance, ScoreModel, load_guidance
from dreamfusion3d.training.schedules import linear_ramp

WINDOW = GuidanceConfig(t_range_start=(0.02, 0.98), t_range_end=(0.02, 0.15), vsd_lr=0.002)
BOUND = 1.5


@dataclass(frozen=True)
class Mixture:
    """Isotropic Gaussians of one deviation, weighted by ``cond`` with the prompt and by ``uncond`` without it."""

    means: Float[Tensor, "k 2"]
    cond: Float[Tensor, " k"]
    uncond: Float[Tensor, " k"]
    deviation: float

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        return torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)

    def log_density(
        self, x_t: Float[Tensor, "b 2 1 1"], t: Float[Tensor, " b"], weights: Float[Tensor, " k"]
    ) -> Float[Tensor, "b k"]:
        """Return the log of each Gaussian's part of the density of x_t, up to the constant 2 pi."""
        alpha, sigma = self.alpha_sigma(t)
        variance = (alpha * self.deviation) ** 2 + sigma**2
        distance = (x_t.flatten(1)[:, None] - alpha[:, None, None] * self.means).square().sum(-1)
        return weights.log() - 0.5 * distance / variance[:, None] - variance.log()[:, None]

    def denoise(
        self, x_t: Float[Tensor, "b 2 1 1"], t: Float[Tensor, " b"], weights: Float[Tensor, " k"]
    ) -> Float[Tensor, "b 2 1 1"]:
        """Return E[x_0 | x_t]: each Gaussian's posterior mean, weighted by its responsibility for x_t."""
        alpha, sigma = (c[:, None, None] for c in self.alpha_sigma(t))
        gain = alpha * self.deviation**2 / ((alpha * self.deviation) ** 2 + sigma**2)
        posterior_means = self.means + gain * (x_t.flatten(1)[:, None] - alpha * self.means)
        responsibility = self.log_density(x_t, t, weights).softmax(-1)
        return (responsibility[..., None] * posterior_means).sum(1)[..., None, None]

    def score_model(self, settings: GuidanceConfig, particles: int) -> ScoreModel:
        def predict_x0(x_t: Tensor, t: Tensor, scale: float) -> Tensor:
            cond, uncond = (self.denoise(x_t, t, weights) for weights in (self.cond, self.uncond))
            return uncond + scale * (cond - uncond)

        return ScoreModel(settings, self.alpha_sigma, predict_x0, torch.zeros(particles, 0))

    def sample(self, count: int, generator: torch.Generator) -> Float[Tensor, "{count} 2"]:
        """Draw samples of the prompt's distribution."""
        rows = torch.multinomial(self.cond, count, replacement=True, generator=generator)
        return self.means[rows] + self.deviation * torch.randn(count, 2, generator=generator)


def square_mixture() -> Mixture:
    """Return four modes, of which the prompt keeps the upper two at 70 and 30 percent."""
    means = torch.tensor([[-0.7, 0.5], [0.7, 0.5], [-0.7, -0.7], [0.7, -0.7]])
    return Mixture(means, torch.tensor([0.7, 0.3, 1e-9, 1e-9]), torch.full((4,), 0.25), 0.18)


def distill_particles(
    mixture: Mixture,
    settings: GuidanceConfig,
    *,
    particles: int = 128,
    steps: int = 600,
    rate: float = 0.02,
    generator: torch.Generator,
    guidance: Guidance | None = None,
) -> Float[Tensor, "{particles} 2"]:
    """Move particles from a wide normal cloud by ``steps`` of Adam under a guidance."""
    guidance = guidance or load_guidance(settings)
    x = (0.8 * torch.randn(particles, 2, 1, 1, generator=generator)).requires_grad_()
    adam = torch.optim.Adam([x], betas=(0.5, 0.99))
    score_model = mixture.score_model(settings, particles)
    for step in range(steps):
        adam.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * step / steps))
        low, high = (
            linear_ramp(step / steps, *ends) for ends in zip(settings.t_range_start, settings.t_range_end, strict=True)
        )
        t = low + (high - low) * torch.rand(particles, generator=generator)
        loss = guidance(x, t, score_model, generator=generator).loss
        (x.grad,) = torch.autograd.grad(loss, x)
        adam.step()
        with torch.no_grad():
            x.clamp_(-BOUND, BOUND)
    return x.detach().flatten(1)


def energy_distance(a: Float[Tensor, "n 2"], b: Float[Tensor, "m 2"]) -> float:
    """Return Szekely and Rizzo's energy distance, 2 E|a - b| - E|a - a'| - E|b - b'|; 0 for equal distributions."""
    return float(2 * torch.cdist(a, b).mean() - torch.cdist(a, a).mean() - torch.cdist(b, b).mean())


def particle_statistics(mixture: Mixture, x: Float[Tensor, "n 2"], truth: Float[Tensor, "m 2"]) -> dict[str, float]:
    """Compare a cloud of particles with the prompt's distribution."""
    nearest = torch.cdist(x, mixture.means).argmin(1)
    squared_distance = (x - mixture.means[nearest]).square().sum(1)
    spread = [float(x[nearest == k].std(0).mean()) for k in (0, 1) if int((nearest == k).sum()) > 2]
    zero = torch.zeros(len(x))
    cond, uncond = (
        mixture.log_density(x[..., None, None], zero, s).logsumexp(1) for s in (mixture.cond, mixture.uncond)
    )
    return {
        "energy_distance": round(energy_distance(x, truth), 4),
        "spread": round(sum(spread) / max(len(spread), 1), 4),
        "target_spread": mixture.deviation,
        "left_fraction": round(float((nearest == 0).float().mean()), 3),
        "target_left_fraction": round(float(mixture.cond[0]), 3),
        "distance_to_mode": round(float(squared_distance.sqrt().median()), 4),
        "log_odds_of_prompt": round(float((cond - uncond).median()), 3),
        "log_density": round(float(cond.median()), 3),
    }
