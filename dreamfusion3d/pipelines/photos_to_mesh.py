"""Photos with known cameras to a finished folder: fit a radiance field and mesh it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamfusion3d.core.backends import choose_device
from dreamfusion3d.core.config import RECONSTRUCTION_QUALITY_PRESETS, Config, resolve_config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import Progress, QuietProgress
from dreamfusion3d.core.slug import check_prompt
from dreamfusion3d.pipelines.asset_record import Asset
from dreamfusion3d.pipelines.context import RunContext, open_run, write_run_settings
from dreamfusion3d.pipelines.meshing import field_to_asset
from dreamfusion3d.pipelines.training_stage import train_or_load
from dreamfusion3d.pipelines.workspace import Source

if TYPE_CHECKING:
    from dreamfusion3d.cameras.capture import Photos
    from dreamfusion3d.cameras.normalize import SceneTransform
    from dreamfusion3d.fields.nerf import NerfField
    from dreamfusion3d.priors.protocol import Prior, Prompts
    from dreamfusion3d.training.loop import Step
    from dreamfusion3d.training.photometric import NovelViewLoss, PhotoBackground

PHOTOS_TO_MESH_STAGES = ("photos", "optimize", "evaluate", "extract", "simplify", "texture", "export", "render")
FEW_PHOTOS = 12  # with fewer photos, supervision from novel views helps
MAX_BACKGROUND_SPREAD = 0.1  # standard deviation of the photos' borders above which they show more than the object


def photos_to_mesh(
    folder: Path | str,
    *,
    name: str | None = None,
    prompt: str | None = None,
    out: Path | str = "out",
    seed: int = 0,
    config: Config | None = None,
    device: str = "auto",
    resume: bool = True,
    progress: Progress | None = None,
) -> Asset:
    """Reconstruct a textured mesh from photos with known cameras, in OUT/<slug>/.

    Args:
        folder: photos and their transforms.json; see `read_photos`.
        name: name of the asset; the folder's by default.
        prompt: what the photos show. It names the asset, and the prior of ``config`` supervises novel views.
        out, seed, device, resume, progress: as for `text_to_mesh`.
        config: settings; the standard quality of a reconstruction by default.

    Returns:
        The finished asset; ``record.reconstruction`` has the scene transform and the metrics of held-out photos.

    Raises:
        InputError: something the user can fix, in one line.

    Example:
        >>> asset = photos_to_mesh("photos", name="my mug", config=resolve_config("draft"))
        >>> asset.record.reconstruction["photos"]
        6
    """
    from dreamfusion3d.rendering.surface_color import SurfaceColorField
    from dreamfusion3d.training.photometric import estimate_background

    folder, config = Path(folder), config or resolve_config(quality_presets=RECONSTRUCTION_QUALITY_PRESETS)
    if config.optim.steps == 0:
        raise InputError("photos need an optimization: raise optim.steps above 0")
    progress = progress or QuietProgress()
    if prompt is not None and name is not None:
        raise InputError("--prompt names the asset already: leave out --name")
    if config.mesh.refine_steps and prompt is None:
        raise InputError("mesh.refine_steps needs a prior: say what the photos show (--prompt), or set it to 0")
    if config.reconstruction.semantic_encoder == "clip" and config.reconstruction.clip_model is None:
        raise InputError("--semantic-encoder clip needs a CLIP model: pass its folder or hub id to --clip-model")
    label = check_prompt(prompt or name or folder.resolve().name or "photos")
    train_photos, eval_photos, transform, source = _load_photos(folder, prompt, config, progress)
    with open_run(
        label,
        PHOTOS_TO_MESH_STAGES,
        source=source,
        out=out,
        seed=seed,
        config=config,
        device=device,
        resume=resume,
        progress=progress,
        prior=_load_prior(prompt, label, config, device),
    ) as run:
        if run.asset is None:
            background = estimate_background(train_photos)
            with run.stages("optimize"):
                field = _reconstruct_field(run, train_photos, background, prompt is not None)
            with run.stages("evaluate"):
                reconstruction = {
                    "photos": len(train_photos),
                    "held_out": _evaluate_photos(field, eval_photos, background, run) if len(eval_photos) else None,
                    # scene coordinates = scale * (the file's, turned by `up`) + offset
                    "up": run.config.reconstruction.up,
                    "scale": transform.scale,
                    "offset": list(transform.offset),
                }
            run.finish(field_to_asset(SurfaceColorField(field), run), reconstruction=reconstruction)
    assert run.asset is not None
    return run.asset


def _load_prior(prompt: str | None, label: str, config: Config, device: str) -> Prior:
    from dreamfusion3d.priors.loading import load_prior
    from dreamfusion3d.priors.null import NullPrior

    if prompt is None:
        return NullPrior(label)
    return load_prior(config.prior, device=choose_device(device))


def _load_photos(
    folder: Path, prompt: str | None, config: Config, progress: Progress
) -> tuple[Photos, Photos, SceneTransform, Source]:
    """Return training photos, held-out photos (both in scene units), their transform and their identity."""
    from dreamfusion3d.cameras.capture import read_photos
    from dreamfusion3d.cameras.normalize import estimate_scene_transform
    from dreamfusion3d.training.photometric import estimate_background

    settings = config.reconstruction
    photos = read_photos(folder, up=settings.up, max_size=settings.max_image_size)
    spread = estimate_background(photos).border_std
    if spread > MAX_BACKGROUND_SPREAD:
        progress.warn(
            "the background is not of one color, and only what lies in the scene's box can be reconstructed: "
            "cut the object out (RGBA), or expect haze around it"
        )
    transform = estimate_scene_transform(photos, settings)
    progress.log(
        f"{len(photos)} photos of {photos.cameras.width} x {photos.cameras.height} pixels; scale "
        f"{transform.scale:.4g}, offset {','.join(f'{x:.4g}' for x in transform.offset)}"
    )
    train_photos, eval_photos = transform.apply_to_photos(photos).split(settings.num_eval_images)
    if len(train_photos) < FEW_PHOTOS and settings.semantic_encoder == "none" and prompt is None:
        progress.warn(
            f"{len(train_photos)} photos leave much of the object unseen: describe it with --prompt, or, "
            "for about four photos, use --semantic-encoder"
        )
    digest = hashlib.sha256(photos.rgba.numpy().tobytes())
    for part in (photos.cameras.camera_to_world, photos.cameras.focal, photos.cameras.principal_point):
        digest.update(part.contiguous().numpy().tobytes())
    return train_photos, eval_photos, transform, Source("fit", folder.resolve().name, digest.hexdigest())


def _reconstruct_field(run: RunContext, photos: Photos, background: PhotoBackground, use_prior: bool) -> NerfField:
    """Fit a field to the photos, or load it."""
    from dreamfusion3d.fields.nerf import NerfField
    from dreamfusion3d.training.photometric import fit_photos

    write_run_settings(run, "blob")
    field = NerfField(run.config.field, generator=run.generator("field"))

    def start_steps(prompts: Prompts, checkpoint: Path) -> Iterator[Step]:
        return fit_photos(
            field,
            photos,
            run.config,
            generator=run.generator("optimize"),
            background=background,
            novel_view_loss=_make_novel_view_loss(run, photos, background, prompts if use_prior else None),
            checkpoint=checkpoint,
            preview=run.work / "preview.png",
        )

    train_or_load(field, start_steps, "optimize", run)
    return field


def _make_novel_view_loss(
    run: RunContext, photos: Photos, background: PhotoBackground, text: Prompts | None
) -> NovelViewLoss | None:
    """Return the loss that supervises views without a photo, if any."""
    from dreamfusion3d.priors.image_text.image_encoder import load_image_encoder
    from dreamfusion3d.training.distillation_loss import DistillationLoss
    from dreamfusion3d.training.novel_views import SemanticConsistencyLoss

    if text is not None:
        return DistillationLoss.from_config(run.prior, text, run.config, run.device, run.progress.warn)
    if run.config.reconstruction.semantic_encoder == "none":
        return None
    encoder = load_image_encoder(run.config.reconstruction.semantic_encoder, run.config.reconstruction.clip_model)
    return SemanticConsistencyLoss.from_photos(
        encoder.to(run.device), photos.to(run.device), run.config.reconstruction, background.color
    )


def _evaluate_photos(
    field: NerfField, eval_photos: Photos, background: PhotoBackground, run: RunContext
) -> dict[str, Any]:
    """Measure PSNR and SSIM on the held-out photos, for asset.json."""
    from dreamfusion3d.training.photometric import evaluate_views

    metrics = evaluate_views(field, eval_photos, run.config, generator=run.generator("evaluate"), background=background)
    psnr, ssim = metrics.means
    run.progress.log(f"held out: {len(eval_photos)} photos, PSNR {psnr:.2f} dB, SSIM {ssim:.4f}")
    views = [
        {"photo": name, "psnr": round(p, 3), "ssim": round(s, 5)}
        for name, p, s in zip(eval_photos.names, metrics.psnr, metrics.ssim, strict=True)
    ]
    return {"photos": len(eval_photos), "psnr": round(psnr, 3), "ssim": round(ssim, 5), "views": views}
