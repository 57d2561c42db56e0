"""Likeness: how similar images of the asset and of its true object are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dreamfusion3d.core.image_metrics import psnr, ssim
from dreamfusion3d.core.shading import BACKGROUND_GRAY
from dreamfusion3d.evaluation.subject import EvalSubject, evaluation_cameras, matte
from dreamfusion3d.evaluation.true_object import TrueObject
from dreamfusion3d.rendering.mesh_renderer import render_mesh

LIKENESS_IMAGE_SIZE = 256


@dataclass(frozen=True)
class LikenessResult:
    """PSNR (dB) and SSIM of the asset's views, each the mean over the views, without and with shading."""

    base_color_psnr_db: float
    base_color_ssim: float
    shaded_psnr_db: float
    shaded_ssim: float


def evaluate_likeness(
    subject: EvalSubject, true_object: TrueObject, *, image_size: int = LIKENESS_IMAGE_SIZE
) -> LikenessResult:
    """Compare the views of an asset, over gray, with those of its true object."""
    cameras = evaluation_cameras().resized(image_size, image_size)
    figures: list[float] = []
    for shading in (False, True):
        images, targets = (
            render_mesh(mesh, cameras, shading=shading).over(torch.full((1, 3), BACKGROUND_GRAY)).clamp(0, 1)
            for mesh in (matte(subject.mesh), matte(true_object.mesh))
        )
        errors = (images - targets).square().mean((1, 2, 3)).tolist()
        figures += [float(np.mean([psnr(error) for error in errors])), float(ssim(images, targets).mean())]
    return LikenessResult(*figures)
