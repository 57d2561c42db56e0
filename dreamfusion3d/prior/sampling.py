"""Pictures drawn from a prior: deterministic DDIM steps (Song et al., arXiv 2010.02502)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras import Cameras, turntable
from dreamfusion3d.files import replacing
from dreamfusion3d.prior.guide import guided
from dreamfusion3d.prior.protocol import Prior

CHECKER = (0.92, 0.86)  # greys of the background that shows what is transparent


def ddim(
    prior: Prior, prompt: str, cameras: Cameras, *, steps: int = 30, scale: float = 3.0, views: int = 1,
    generator: torch.Generator,
) -> Iterator[Float[Tensor, "b c h w"]]:
    """The predicted x_0 after every step, for one picture a camera.

    ``views`` consecutive cameras are denoised jointly and share nothing else.
    """
    text = prior.encode_text([prompt, ""])
    b = len(cameras)
    x = torch.randn(b, 4, cameras.height, cameras.width, generator=generator, device=generator.device)
    times = torch.linspace(0.999, 0.0, steps + 1, device=x.device)
    for now, after in zip(times[:-1], times[1:], strict=True):
        t = now.expand(b)
        x0 = guided(prior, x, t, text, cameras, scale=scale, views=views).clamp(-1, 1)
        alpha, sigma = (c.view(-1, 1, 1, 1) for c in prior.alpha_sigma(t))
        alpha_after, sigma_after = (c.view(-1, 1, 1, 1) for c in prior.alpha_sigma(after.expand(b)))
        noise = (x - alpha * x0) / sigma
        x = alpha_after * x0 + sigma_after * noise
        yield x0


def sample_grid_png(
    prior: Prior, prompt: str, path: Path, *, views: int = 8, steps: int = 30, scale: float = 3.0,
    enlarge: int = 3, seed: int = 0, device: str = "cpu",
) -> Iterator[tuple[int, int]]:
    """Draw ``prompt`` from ``views`` sides into one PNG. Yields (step, steps)."""
    generator = torch.Generator(device).manual_seed(seed)
    cameras = turntable(views).to(device)
    joint = 4 if views % 4 == 0 else 1
    # views a quarter turn apart are denoised together, as the prior was taught
    order = torch.arange(views).view(joint, -1).T.flatten() if joint > 1 else torch.arange(views)
    pictures = torch.empty(0)
    for step, x0 in enumerate(
        ddim(prior, prompt, cameras.select(order.to(device)), steps=steps, scale=scale, views=joint,
             generator=generator), 1,
    ):
        pictures = x0
        yield step, steps
    back = torch.argsort(order)
    write_grid(pictures[back.to(device)], path, columns=min(views, 8), enlarge=enlarge)


def write_grid(pictures: Float[Tensor, "b 4 h w"], path: Path, *, columns: int, enlarge: int = 1) -> None:
    """Premultiplied RGBA in [-1, 1] over a chequered ground, as one PNG."""
    rgba = ((pictures + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    b, h, w, _ = rgba.shape
    squares = (np.add.outer(np.arange(h) // 8, np.arange(w) // 8) % 2).astype(np.float32)
    ground = (CHECKER[0] + (CHECKER[1] - CHECKER[0]) * squares)[None, :, :, None]
    rgb = rgba[..., :3] + (1 - rgba[..., 3:]) * ground
    rows = -(-b // columns)
    sheet = np.ones((rows * columns, h, w, 3), np.float32)
    sheet[:b] = rgb
    sheet = sheet.reshape(rows, columns, h, w, 3).transpose(0, 2, 1, 3, 4).reshape(rows * h, columns * w, 3)
    sheet = sheet.repeat(enlarge, 0).repeat(enlarge, 1)
    with replacing(path) as temporary:
        iio.imwrite(temporary, (sheet.clip(0, 1) * 255).round().astype(np.uint8))
