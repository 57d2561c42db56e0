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
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw

from tests.support.mixture import WINDOW, Mixture, distill_particles, particle_statistics, square_mixture

# title, settings
CASES = (
    ("sds, scale 1", replace(WINDOW, type="sds")),
    ("sds, scale 7.5", replace(WINDOW, type="sds", scale=7.5)),
    ("csd", replace(WINDOW, type="csd")),
    ("ism, scale 1", replace(WINDOW, type="ism")),
    ("vsd, scale 1", replace(WINDOW, type="vsd")),
)
PANEL, EXTENT = 260, 1.6  # pixels, and half the width that they show


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
    mixture = square_mixture()
    truth = mixture.sample(2000, torch.Generator().manual_seed(arguments.seed + 1))
    asked = truth[: arguments.particles]
    panels = [panel(mixture, asked, "what the prompt asks for")]
    reports = {"asked": particle_statistics(mixture, asked, truth)}
    for title, settings in CASES:
        generator = torch.Generator().manual_seed(arguments.seed)
        x = distill_particles(
            mixture, settings, particles=arguments.particles, steps=arguments.steps, generator=generator
        )
        reports[title] = particle_statistics(mixture, x, truth)
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
