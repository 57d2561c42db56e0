"""Sampling of images from a prior by deterministic DDIM (Song et al., arXiv 2010.02502)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras, turntable_cameras
from dreamfusion3d.core.files import atomic_write
from dreamfusion3d.priors.cfg import CFGDenoiser
from dreamfusion3d.priors.protocol import Prior, Prompts, TextEmbedding
from dreamfusion3d.rendering.video_writer import write_mp4

STRIP_COLUMNS = 10  # predictions of x_0 in a strip
MORPH_FPS = 12
GRID_UPSCALE, MORPH_UPSCALE = 3, 4  # pixels along a side of a sample's pixel
CHECKER_GRAYS = (0.92, 0.86)  # of the background behind transparent pixels


def sample_ddim(
    prior: Prior,
    text: Prompts,
    cameras: OrbitCameras,
    *,
    steps: int = 30,
    scale: float = 3.0,
    views: int = 1,
    noise: Float[Tensor, "b c h w"],
) -> Iterator[Float[Tensor, "b c h w"]]:
    """Sample one image per camera from ``noise``, ``views`` at a time; yields the predicted x_0 after every step."""
    b, x = len(cameras), noise
    times = torch.linspace(0.999, 0.0, steps + 1, device=x.device)
    for t_current, t_next in zip(times[:-1], times[1:], strict=True):
        t = t_current.expand(b)
        x0 = CFGDenoiser(prior, text, cameras, views=views)(x, t, scale).clamp(-1, 1)
        alpha, sigma = (c.view(-1, 1, 1, 1) for c in prior.alpha_sigma(t))
        alpha_next, sigma_next = (c.view(-1, 1, 1, 1) for c in prior.alpha_sigma(t_next.expand(b)))
        x = alpha_next * x0 + sigma_next * (x - alpha * x0) / sigma
        yield x0


def initial_noise(cameras: OrbitCameras, *, seed: int, device: str | torch.device = "cpu") -> Float[Tensor, "b 4 h w"]:
    """Draw the noise from which ``sample_ddim`` starts."""
    generator = torch.Generator(device).manual_seed(seed)
    shape = (len(cameras), 4, cameras.height, cameras.width)
    return torch.randn(shape, generator=generator, device=device)


def sample_grid_png(
    prior: Prior,
    prompt: str,
    path: Path,
    *,
    views: int = 8,
    steps: int = 30,
    scale: float = 3.0,
    seed: int = 0,
    strip: bool = False,
) -> Iterator[tuple[int, int]]:
    """Sample ``prompt`` from ``views`` sides into one PNG. Yields (step, steps).

    ``strip`` writes one row per side that shows how the predicted x_0 clears up over the steps.
    """
    cameras = turntable_cameras(views)
    joint = 4 if views % 4 == 0 else 1
    # four views a quarter turn apart are denoised jointly, as in training
    order = torch.arange(views).view(joint, -1).T.flatten() if joint > 1 else torch.arange(views)
    noise = initial_noise(cameras, seed=seed)
    strip_steps = torch.linspace(0, steps - 1, min(steps, STRIP_COLUMNS)).round().long().tolist()
    shown_steps = strip_steps if strip else [steps - 1]
    text, cameras = prior.encode_text([prompt, ""]), cameras.select(order)
    predictions = []
    for done, x0 in enumerate(sample_ddim(prior, text, cameras, steps=steps, scale=scale, views=joint, noise=noise)):
        if done in shown_steps:
            predictions.append(x0[torch.argsort(order)])
        yield done + 1, steps
    if strip:
        grid = torch.stack(predictions, 1)  # (view, step, ...)
        write_image_grid(grid.flatten(0, 1), path, columns=len(shown_steps), upscale=GRID_UPSCALE)
    else:
        write_image_grid(predictions[-1], path, columns=min(views, 8), upscale=GRID_UPSCALE)


def sample_morph_mp4(
    prior: Prior,
    prompts: tuple[str, str],
    path: Path,
    *,
    frames: int = 24,
    steps: int = 30,
    scale: float = 3.0,
    seed: int = 0,
) -> Iterator[tuple[int, int]]:
    """Write a video that morphs from one prompt to the other and back in one turn of the camera.

    All frames start from the same noise; embeddings are interpolated between the prompts. Yields (step, steps).
    """
    cameras = turntable_cameras(frames)
    blend = 0.5 - 0.5 * torch.cos(2 * math.pi * torch.arange(frames) / frames)
    first, second, empty = prior.encode_text([*prompts, ""]).embedding.split(1)
    text = TextEmbedding(torch.cat([torch.lerp(first, second, blend[:, None]), empty]))
    noise = initial_noise(cameras.select(torch.tensor([0])), seed=seed)
    images = torch.empty(0)
    steps_done = sample_ddim(prior, text, cameras, steps=steps, scale=scale, noise=noise.expand(frames, -1, -1, -1))
    for done, x0 in enumerate(steps_done, 1):
        images = x0
        yield done, steps
    frames_uint8 = (np.clip(_composite_over_checkerboard(images), 0, 1) * 255).round().astype(np.uint8)
    upscaled = frames_uint8.repeat(MORPH_UPSCALE, 1).repeat(MORPH_UPSCALE, 2)
    with atomic_write(path) as temporary:
        write_mp4(upscaled, temporary, MORPH_FPS, (upscaled.shape[2], upscaled.shape[1]))


def write_image_grid(images: Float[Tensor, "b 4 h w"], path: Path, *, columns: int, upscale: int = 1) -> None:
    """Write premultiplied RGBA in [-1, 1] over a checkerboard as one PNG."""
    rgb = _composite_over_checkerboard(images)
    b, h, w, _ = rgb.shape
    rows = -(-b // columns)
    grid = np.ones((rows * columns, h, w, 3), np.float32)
    grid[:b] = rgb
    grid = grid.reshape(rows, columns, h, w, 3).transpose(0, 2, 1, 3, 4).reshape(rows * h, columns * w, 3)
    grid = grid.repeat(upscale, 0).repeat(upscale, 1)
    with atomic_write(path) as temporary:
        iio.imwrite(temporary, (grid.clip(0, 1) * 255).round().astype(np.uint8))


def _composite_over_checkerboard(images: Float[Tensor, "b 4 h w"]) -> Float[np.ndarray, "b h w 3"]:
    rgba = ((images + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    _, h, w, _ = rgba.shape
    checkerboard = (np.add.outer(np.arange(h) // 8, np.arange(w) // 8) % 2).astype(np.float32)
    background = (CHECKER_GRAYS[0] + (CHECKER_GRAYS[1] - CHECKER_GRAYS[0]) * checkerboard)[None, :, :, None]
    return rgba[..., :3] + (1 - rgba[..., 3:]) * background
