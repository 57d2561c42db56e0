"""Previews of a prior's objects without UV maps, and the sheet of several seeds to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dreamfusion3d.core.config import Config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import Progress, QuietProgress
from dreamfusion3d.core.slug import check_prompt, slugify

if TYPE_CHECKING:
    import torch
    from jaxtyping import UInt8

    from dreamfusion3d.core.types import SolidField, TexturedMesh

PREVIEW_RESOLUTION = 96  # samples per axis of the distance
PREVIEW_SIZE = 320  # pixels along a side of a cell
MAX_COLUMNS = 4
MAX_SHEET_SEEDS = 64


def write_seed_sheet(
    prompt: str,
    seeds: Sequence[int],
    *,
    out: Path | str = "out",
    config: Config | None = None,
    device: str = "auto",
    progress: Progress | None = None,
) -> Path:
    """Draw what ``text_to_mesh`` makes of ``prompt`` for each seed, from the prior's shapes; return the PNG's path.

    Args:
        seeds: Of the cells, in reading order.
        out: Folder that receives <slug>_seeds.png.
        config: Settings; the prior's are used.

    Raises:
        InputError: The prior knows no shape for the prompt.
    """
    import imageio.v3 as imageio
    import torch

    from dreamfusion3d.core.backends import choose_device
    from dreamfusion3d.core.files import atomic_write
    from dreamfusion3d.core.folders import check_free_space, translate_folder_errors
    from dreamfusion3d.pipelines.context import seeded_generator
    from dreamfusion3d.priors.loading import load_prior
    from dreamfusion3d.priors.protocol import SolidPrior

    config, progress, out = config or Config(), progress or QuietProgress(), Path(out)
    prompt = check_prompt(prompt)
    with translate_folder_errors(out):
        check_free_space(out)
    torch_device = choose_device(device)
    prior = load_prior(config.prior, device=torch_device)
    if not isinstance(prior, SolidPrior):
        raise InputError(
            f"the prior '{prior.name}' knows no shapes to choose from; make an asset of each seed with batch --seeds"
        )
    for warning in prior.check_solid(prompt):
        progress.warn(warning)
    images = []
    for i, seed in enumerate(seeds, 1):
        progress.step(i, len(seeds), f"seed {seed}")
        solid = prior.sample_solid(prompt, generator=seeded_generator(seed, "instance", torch.device("cpu")))
        images.append(render_solid(solid, torch_device, PREVIEW_SIZE))
    progress.close()
    path = out / f"{slugify(prompt)}_seeds.png"
    with translate_folder_errors(out), atomic_write(path) as temporary:
        imageio.imwrite(temporary, label_cells(images, [f"seed {seed}" for seed in seeds]))
    return path


def render_solid(
    solid: SolidField, device: torch.device, size: int, resolution: int = PREVIEW_RESOLUTION
) -> UInt8[np.ndarray, "{size} {size} 3"]:
    """Render the three-quarter view of a solid as a thumbnail shows it."""
    from dreamfusion3d.rendering.turntable import render_thumbnail

    return render_thumbnail(preview_mesh(solid, device, resolution), size)


def preview_mesh(solid: SolidField, device: torch.device, resolution: int) -> TexturedMesh:
    """Mesh a solid at once: its texture has one texel per triangle."""
    from dreamfusion3d.core.types import Mesh, TexturedMesh
    from dreamfusion3d.mesh.bake import to_uint8
    from dreamfusion3d.mesh.crease_normals import split_at_creases
    from dreamfusion3d.pipelines.surface_extraction import as_numpy_function, extract_solid_surface

    surface = extract_solid_surface(solid, resolution, device)
    normals, _, split_corners = split_at_creases(Mesh(surface.vertices, surface.faces))
    corners = surface.vertices[surface.faces]  # (f, 3, 3)
    side = int(np.ceil(np.sqrt(len(corners))))
    texels = np.zeros((side * side, 5))
    texels[: len(corners)] = as_numpy_function(solid.appearance, device)(corners.mean(1).astype(np.float32))
    row, column = np.divmod(np.arange(len(corners)), side)
    uv = np.stack([(column + 0.5) / side, 1 - (row + 0.5) / side], 1).repeat(3, 0)
    image = to_uint8(texels.reshape(side, side, 5))
    return TexturedMesh(
        corners.reshape(-1, 3).astype(np.float32),
        np.arange(3 * len(corners), dtype=np.int32).reshape(-1, 3),
        normals[split_corners].reshape(-1, 3).astype(np.float32),
        uv.astype(np.float32),
        np.ascontiguousarray(image[..., :3]),
        metallic_roughness=np.ascontiguousarray(image[..., 3:]),
    )


def label_cells(
    images: Sequence[UInt8[np.ndarray, "s s 3"]], labels: Sequence[str], columns: int = MAX_COLUMNS
) -> UInt8[np.ndarray, "h w 3"]:
    """Arrange images of one size on a grid, in reading order, each with its label in the corner."""
    from PIL import Image, ImageDraw, ImageFont

    size, columns = images[0].shape[0], min(columns, len(images))
    rows = -(-len(images) // columns)
    sheet = Image.new("RGB", (columns * size, rows * size), tuple(images[0][-1, 0].tolist()))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size // 18)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        corner = i % columns * size, i // columns * size
        sheet.paste(Image.fromarray(image), corner)
        draw.text((corner[0] + size // 24, corner[1] + size // 30), label, fill=(70, 70, 70), font=font)
    return np.asarray(sheet)
