"""Pictures drawn from a prior: deterministic DDIM steps (Song et al., arXiv 2010.02502)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import Cameras, turntable
from dreamfusion3d.core.files import replacing
from dreamfusion3d.priors.cfg import guided
from dreamfusion3d.priors.protocol import Prior, Prompts, Text
from dreamfusion3d.rendering.video_writer import write_frames

STRIP = 10  # predictions shown of a sampling
MORPH_FPS = 12
CHECKER = (0.92, 0.86)  # greys of the background that shows what is transparent


def ddim(
    prior: Prior, text: Prompts, cameras: Cameras, *, steps: int = 30, scale: float = 3.0, views: int = 1,
    noise: Float[Tensor, "b c h w"],
) -> Iterator[Float[Tensor, "b c h w"]]:
    """The predicted x_0 after every step, for one picture a camera, begun from ``noise``.

    ``text`` is as for ``guided``. ``views`` consecutive cameras are denoised jointly and share
    nothing else.
    """
    b, x = len(cameras), noise
    times = torch.linspace(0.999, 0.0, steps + 1, device=x.device)
    for now, after in zip(times[:-1], times[1:], strict=True):
        t = now.expand(b)
        x0 = guided(prior, x, t, text, cameras, scale=scale, views=views).clamp(-1, 1)
        alpha, sigma = (c.view(-1, 1, 1, 1) for c in prior.alpha_sigma(t))
        alpha_after, sigma_after = (c.view(-1, 1, 1, 1) for c in prior.alpha_sigma(after.expand(b)))
        x = alpha_after * x0 + sigma_after * (x - alpha * x0) / sigma
        yield x0


def noise_for(cameras: Cameras, *, seed: int, device: str | torch.device = "cpu") -> Float[Tensor, "b 4 h w"]:
    """Where sampling begins."""
    generator = torch.Generator(device).manual_seed(seed)
    shape = (len(cameras), 4, cameras.height, cameras.width)
    return torch.randn(shape, generator=generator, device=device)


def sample_grid_png(
    prior: Prior, prompt: str, path: Path, *, views: int = 8, steps: int = 30, scale: float = 3.0,
    enlarge: int = 3, seed: int = 0, device: str = "cpu", strip: bool = False,
) -> Iterator[tuple[int, int]]:
    """Draw ``prompt`` from ``views`` sides into one PNG. Yields (step, steps).

    ``strip``: a row a side, along which the prediction of the finished picture clears up.
    """
    cameras = turntable(views).to(device)
    joint = 4 if views % 4 == 0 else 1
    # views a quarter turn apart are denoised together, as the prior was taught
    order = torch.arange(views).view(joint, -1).T.flatten() if joint > 1 else torch.arange(views)
    begun = noise_for(cameras, seed=seed, device=device)
    shown = torch.linspace(0, steps - 1, min(steps, STRIP)).round().long().tolist() if strip else [steps - 1]
    predictions = []
    for done, x0 in enumerate(ddim(
        prior, prior.encode_text([prompt, ""]), cameras.select(order.to(device)), steps=steps, scale=scale,
        views=joint, noise=begun,
    )):
        if done in shown:
            predictions.append(x0[torch.argsort(order).to(device)])
        yield done + 1, steps
    if strip:
        sheet = torch.stack(predictions, 1)  # (view, step, ...)
        write_grid(sheet.flatten(0, 1), path, columns=len(shown), enlarge=enlarge)
    else:
        write_grid(predictions[-1], path, columns=min(views, 8), enlarge=enlarge)


def sample_morph_mp4(
    prior: Prior, prompts: tuple[str, str], path: Path, *, frames: int = 24, steps: int = 30,
    scale: float = 3.0, enlarge: int = 4, seed: int = 0, device: str = "cpu",
) -> Iterator[tuple[int, int]]:
    """A video from one prompt to the other and back, the camera going once around. Yields (step, steps).

    Every frame begins from the same noise; between the prompts their embeddings are mixed.
    """
    cameras = turntable(frames).to(device)
    share = 0.5 - 0.5 * torch.cos(2 * math.pi * torch.arange(frames, device=device) / frames)
    first, second, empty = prior.encode_text([*prompts, ""]).embedding.split(1)
    text = Text(torch.cat([torch.lerp(first, second, share[:, None]), empty]))
    noise = noise_for(cameras.select(torch.tensor([0], device=device)), seed=seed, device=device)
    pictures = torch.empty(0)
    steps_done = ddim(
        prior, text, cameras, steps=steps, scale=scale, noise=noise.expand(frames, -1, -1, -1)
    )
    for done, x0 in enumerate(steps_done, 1):
        pictures = x0
        yield done, steps
    shown = (np.clip(_over_checks(pictures), 0, 1) * 255).round().astype(np.uint8)
    large = shown.repeat(enlarge, 1).repeat(enlarge, 2)
    with replacing(path) as temporary:
        write_frames(large, temporary, MORPH_FPS, large.shape[1])


def write_grid(pictures: Float[Tensor, "b 4 h w"], path: Path, *, columns: int, enlarge: int = 1) -> None:
    """Premultiplied RGBA in [-1, 1] over a chequered ground, as one PNG."""
    rgb = _over_checks(pictures)
    b, h, w, _ = rgb.shape
    rows = -(-b // columns)
    sheet = np.ones((rows * columns, h, w, 3), np.float32)
    sheet[:b] = rgb
    sheet = sheet.reshape(rows, columns, h, w, 3).transpose(0, 2, 1, 3, 4).reshape(rows * h, columns * w, 3)
    sheet = sheet.repeat(enlarge, 0).repeat(enlarge, 1)
    with replacing(path) as temporary:
        iio.imwrite(temporary, (sheet.clip(0, 1) * 255).round().astype(np.uint8))


def _over_checks(pictures: Float[Tensor, "b 4 h w"]) -> Float[np.ndarray, "b h w 3"]:
    rgba = ((pictures + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    _, h, w, _ = rgba.shape
    squares = (np.add.outer(np.arange(h) // 8, np.arange(w) // 8) % 2).astype(np.float32)
    ground = (CHECKER[0] + (CHECKER[1] - CHECKER[0]) * squares)[None, :, :, None]
    return rgba[..., :3] + (1 - rgba[..., 3:]) * ground
