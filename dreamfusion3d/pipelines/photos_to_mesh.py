"""A folder of photos to a finished folder: the field is fitted to them and becomes a mesh."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamfusion3d.core import progress as progresses
from dreamfusion3d.core.backends import choose_device
from dreamfusion3d.core.config import RECONSTRUCTION_QUALITY_PRESETS, Config, resolve_config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.slug import check_prompt
from dreamfusion3d.pipelines.asset_record import MeshOutputs
from dreamfusion3d.pipelines.context import RunContext, train_or_load, write_run_settings
from dreamfusion3d.pipelines.meshing import field_to_asset
from dreamfusion3d.pipelines.text_to_mesh import Asset, run_pipeline
from dreamfusion3d.pipelines.workspace import Source

if TYPE_CHECKING:
    from dreamfusion3d.cameras.capture import Photos
    from dreamfusion3d.cameras.normalize import SceneTransform
    from dreamfusion3d.fields.nerf import NerfField
    from dreamfusion3d.priors.protocol import Prior, Prompts
    from dreamfusion3d.training.loop import Step
    from dreamfusion3d.training.photometric import NovelViewLoss, PhotoBackground

PHOTOS_TO_MESH_STAGES = ("photos", "optimise", "judge", "extract", "simplify", "texture", "export", "pictures")
FEW_PHOTOS = 12  # photos below which what they leave open wants a teacher
MAX_BACKGROUND_SPREAD = 0.1  # deviation of a border's colour above which photos show more than the object


def photos_to_mesh(
    folder: Path | str,
    *,
    name: str | None = None,
    prompt: str | None = None,
    out: Path | str = "out",
    seed: int = 0,
    config: Config | None = None,
    device: str = "auto",
    fresh: bool = False,
    progress: progresses.Progress | None = None,
) -> Asset:
    """OUT/<slug>/ with a textured mesh of what the photos of ``folder`` show; see `photos.read_photos`.

    It is called ``name``, or as the folder. With ``text``, which then is its name, the prior that ``config``
    names teaches what the photos do not show. Otherwise as `text_to_mesh`.
    """
    folder, config = Path(folder), config or resolve_config(quality_presets=RECONSTRUCTION_QUALITY_PRESETS)
    progress = progress or progresses.QuietProgress()
    if prompt is not None and name is not None:
        raise InputError("--prompt already names the asset: leave out --name")
    if config.mesh.refine_steps and prompt is None:
        raise InputError("mesh.refine_steps needs a prompt: say what the photos show (--prompt), or set it to 0")
    if config.reconstruction.semantic_encoder == "clip" and config.reconstruction.clip_model is None:
        raise InputError("--semantic-encoder clip needs a CLIP model: pass its folder or hub id to --clip-model")
    label = check_prompt(prompt or name or folder.resolve().name or "photos")
    train_photos, eval_photos, transform, source = _load_photos(folder, prompt, config, progress)
    prior = _load_prior(prompt, label, config, device)
    reconstruction_record: dict[str, Any] = {}

    def build(job: RunContext) -> MeshOutputs:
        from dreamfusion3d.rendering.surface_color import SurfaceColorField
        from dreamfusion3d.training.photometric import estimate_background

        background = estimate_background(train_photos)
        with job.stages("optimise"):
            field = _reconstruct_field(job, train_photos, background, prompt is not None)
        with job.stages("judge"):
            reconstruction_record["fit"] = {
                "photos": len(train_photos),
                "held_out": _evaluate_photos(field, eval_photos, background, job) if len(eval_photos) else None,
                # a place of the file, turned by `up`, times scale and plus offset is one of the scene
                "up": job.config.reconstruction.up,
                "scale": transform.scale,
                "offset": list(transform.offset),
            }
        return field_to_asset(SurfaceColorField(field), job)

    return run_pipeline(
        label,
        PHOTOS_TO_MESH_STAGES,
        build,
        source=source,
        out=out,
        seed=seed,
        config=config,
        device=device,
        fresh=fresh,
        progress=progress,
        prior=prior,
        extra_record=lambda: reconstruction_record,
    )


def _load_prior(prompt: str | None, label: str, config: Config, device: str) -> Prior:
    from dreamfusion3d.priors.loading import load_prior
    from dreamfusion3d.priors.null import NullPrior

    if prompt is None:
        return NullPrior(label)
    return load_prior(config.prior, device=choose_device(device))


def _load_photos(
    folder: Path, prompt: str | None, config: Config, progress: progresses.Progress
) -> tuple[Photos, Photos, SceneTransform, Source]:
    """The photos to fit and those to judge by, in scene units, how they came there, and what they are
    known by."""
    from dreamfusion3d.cameras.capture import read_photos
    from dreamfusion3d.cameras.normalize import estimate_scene_transform
    from dreamfusion3d.training.photometric import estimate_background

    settings = config.reconstruction
    photos = read_photos(folder, up=settings.up, max_size=settings.max_image_size)
    spread = estimate_background(photos).border_std
    if spread > MAX_BACKGROUND_SPREAD:
        progress.log(
            "warning: what is behind the object has no one colour, and only what lies in the scene's box can "
            "be fitted: cut the object out (RGBA), or expect haze around it"
        )
    transform = estimate_scene_transform(photos, settings)
    progress.log(
        f"{len(photos)} photos of {photos.cameras.width} x {photos.cameras.height} pixels; scale "
        f"{transform.scale:.4g}, offset {','.join(f'{x:.4g}' for x in transform.offset)}"
    )
    train_photos, eval_photos = transform.apply_to_photos(photos).split(settings.num_eval_images)
    if len(train_photos) < FEW_PHOTOS and settings.semantic_encoder == "none" and prompt is None:
        progress.log(
            f"warning: {len(train_photos)} photos leave much of the object unseen: describe it with --prompt, or, "
            "for about four photos, use --semantic-encoder"
        )
    digest = hashlib.sha256(photos.rgba.numpy().tobytes())
    for part in (photos.cameras.camera_to_world, photos.cameras.focal, photos.cameras.principal_point):
        digest.update(part.contiguous().numpy().tobytes())
    return train_photos, eval_photos, transform, Source("fit", folder.resolve().name, digest.hexdigest())


def _reconstruct_field(context: RunContext, photos: Photos, background: PhotoBackground, use_prior: bool) -> NerfField:
    """The fitted field, from work/field.safetensors when an earlier process came so far."""
    from dreamfusion3d.fields.nerf import NerfField
    from dreamfusion3d.training.photometric import fit_photos

    work = context.workspace.work
    write_run_settings(context, "blob")
    field = NerfField(context.config.field, generator=context.generator("field"))

    def make_steps(text: Prompts, checkpoint: Path) -> Iterator[Step]:
        return fit_photos(
            field,
            photos,
            context.config,
            generator=context.generator("optimise"),
            background=background,
            novel_view_loss=_make_novel_view_loss(context, photos, background, text if use_prior else None),
            checkpoint=checkpoint,
            preview=work / "preview.png",
        )

    train_or_load(field, work / "field.safetensors", make_steps, "optimise", work / "checkpoint.safetensors", context)
    return field


def _make_novel_view_loss(
    context: RunContext, photos: Photos, background: PhotoBackground, text: Prompts | None
) -> NovelViewLoss | None:
    """Who says what the photos do not show."""
    from dreamfusion3d.priors.image_text.image_encoder import load_image_encoder
    from dreamfusion3d.training.distillation_loss import DistillationLoss
    from dreamfusion3d.training.novel_views import SemanticConsistencyLoss

    if text is not None:
        return DistillationLoss.from_config(context.prior, text, context.config, context.device, context.progress.log)
    if context.config.reconstruction.semantic_encoder == "none":
        return None
    encoder = load_image_encoder(
        context.config.reconstruction.semantic_encoder, context.config.reconstruction.clip_model
    )
    return SemanticConsistencyLoss.from_photos(
        encoder.to(context.device), photos.to(context.device), context.config.reconstruction, background.color
    )


def _evaluate_photos(
    field: NerfField, eval_photos: Photos, background: PhotoBackground, context: RunContext
) -> dict[str, Any]:
    """What asset.json says of the photos held out."""
    from dreamfusion3d.training.photometric import evaluate_views

    metrics = evaluate_views(
        field, eval_photos, context.config, generator=context.generator("judge"), background=background
    )
    psnr, ssim = metrics.means
    context.progress.log(f"held out: {len(eval_photos)} photos, PSNR {psnr:.2f} dB, SSIM {ssim:.4f}")
    views = [
        {"photo": name, "psnr": round(p, 3), "ssim": round(s, 5)}
        for name, p, s in zip(eval_photos.names, metrics.psnr, metrics.ssim, strict=True)
    ]
    return {"photos": len(eval_photos), "psnr": round(psnr, 3), "ssim": round(ssim, 5), "views": views}
