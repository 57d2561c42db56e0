"""A folder of photos to a finished folder: the field is fitted to them and becomes a mesh."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamfusion3d.core import progress as progresses
from dreamfusion3d.core.backends import choose_device
from dreamfusion3d.core.config import FIT_PRESETS, Config, resolve
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.slug import check_prompt
from dreamfusion3d.pipelines.asset_record import Made
from dreamfusion3d.pipelines.context import Job, describe, trained
from dreamfusion3d.pipelines.meshing import mesh_of
from dreamfusion3d.pipelines.text_to_mesh import Asset, in_folder
from dreamfusion3d.pipelines.workspace import Source

if TYPE_CHECKING:
    from dreamfusion3d.cameras.capture import Photos
    from dreamfusion3d.cameras.normalize import Placing
    from dreamfusion3d.fields.nerf import NerfField
    from dreamfusion3d.priors.protocol import Prior, Prompts
    from dreamfusion3d.training.loop import Step
    from dreamfusion3d.training.photometric import Ground, Unseen

STAGES = ("photos", "optimise", "judge", "extract", "simplify", "texture", "export", "pictures")
FEW = 12  # photos below which what they leave open wants a teacher
UNEVEN = 0.1  # deviation of a border's colour above which photos show more than the object


def photos_to_mesh(
    folder: Path | str,
    *,
    name: str | None = None,
    text: str | None = None,
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
    folder, config = Path(folder), config or resolve(qualities=FIT_PRESETS)
    progress = progress or progresses.Quiet()
    if text is not None and name is not None:
        raise InputError("--text names the asset already: leave --name out")
    if config.mesh.refine_steps and text is None:
        raise InputError("mesh.refine_steps asks a prior: say what the photos show (--text), or set it to 0")
    if config.fit.teacher == "clip" and config.fit.encoder is None:
        raise InputError("the teacher clip needs a CLIP model: name its folder or hub id with --encoder")
    called = check_prompt(text or name or folder.resolve().name or "photos")
    fitted, held, placing, source = _photos_of(folder, text, config, progress)
    prior = _prior_of(text, called, config, device)
    found: dict[str, Any] = {}

    def make(job: Job) -> Made:
        from dreamfusion3d.rendering.surface_color import FromOutside
        from dreamfusion3d.training.photometric import ground_of

        ground = ground_of(fitted)
        with job.stages("optimise"):
            field = _fitted(job, fitted, ground, text is not None)
        with job.stages("judge"):
            found["fit"] = {
                "photos": len(fitted), "held_out": _judged(field, held, ground, job) if len(held) else None,
                # a place of the file, turned by `up`, times scale and plus offset is one of the scene
                "up": job.config.fit.up, "scale": placing.scale, "offset": list(placing.offset),
            }
        return mesh_of(FromOutside(field), job)

    return in_folder(
        called, STAGES, make, source=source, out=out, seed=seed, config=config, device=device, fresh=fresh,
        progress=progress, prior=prior, more=lambda: found,
    )


def _prior_of(text: str | None, called: str, config: Config, device: str) -> Prior:
    from dreamfusion3d.priors.loading import load_prior
    from dreamfusion3d.priors.null import NoPrior

    if text is None:
        return NoPrior(called)
    return load_prior(config.prior, device=choose_device(device))


def _photos_of(
    folder: Path, text: str | None, config: Config, progress: progresses.Progress
) -> tuple[Photos, Photos, Placing, Source]:
    """The photos to fit and those to judge by, in scene units, how they came there, and what they are
    known by."""
    from dreamfusion3d.cameras.capture import read_photos
    from dreamfusion3d.cameras.normalize import placing_of
    from dreamfusion3d.training.photometric import ground_of

    settings = config.fit
    photos = read_photos(folder, up=settings.up, longest=settings.longest)
    spread = ground_of(photos).spread
    if spread > UNEVEN:
        progress.say(
            "warning: what is behind the object has no one colour, and only what lies in the scene's box can "
            "be fitted: cut the object out (RGBA), or expect haze around it"
        )
    placing = placing_of(photos, settings)
    progress.say(
        f"{len(photos)} photos of {photos.cameras.width} x {photos.cameras.height} pixels; scale "
        f"{placing.scale:.4g}, offset {','.join(f'{x:.4g}' for x in placing.offset)}"
    )
    fitted, held = placing.placed(photos).split(settings.holdout)
    if len(fitted) < FEW and settings.teacher == "none" and text is None:
        progress.say(
            f"warning: {len(fitted)} photos leave much open: a prior can be told what they show (--text); "
            "for four or so, an image encoder asked (--teacher)"
        )
    digest = hashlib.sha256(photos.rgba.numpy().tobytes())
    for part in (photos.cameras.camera_to_world, photos.cameras.focal, photos.cameras.centre):
        digest.update(part.contiguous().numpy().tobytes())
    return fitted, held, placing, Source("fit", folder.resolve().name, digest.hexdigest())


def _fitted(job: Job, photos: Photos, ground: Ground, told: bool) -> NerfField:
    """The fitted field, from work/field.safetensors when an earlier process came so far."""
    from dreamfusion3d.fields.nerf import NerfField
    from dreamfusion3d.training.photometric import fit

    work = job.space.work
    describe(job, "blob")
    field = NerfField(job.config.field, generator=job.generator("field"))

    def steps(text: Prompts, checkpoint: Path) -> Iterator[Step]:
        return fit(
            field, photos, job.config, generator=job.generator("optimise"), ground=ground,
            unseen=_teacher(job, photos, ground, text if told else None),
            checkpoint=checkpoint, preview=work / "preview.png",
        )

    trained(field, work / "field.safetensors", steps, "optimise", work / "checkpoint.safetensors", job)
    return field


def _teacher(job: Job, photos: Photos, ground: Ground, text: Prompts | None) -> Unseen | None:
    """Who says what the photos do not show."""
    from dreamfusion3d.priors.image_text.image_encoder import load_eye
    from dreamfusion3d.training.novel_views import Distilled, Semantic

    if text is not None:
        return Distilled.of(job.prior, text, job.config, job.device, job.progress.say)
    if job.config.fit.teacher == "none":
        return None
    eye = load_eye(job.config.fit.teacher, job.config.fit.encoder)
    return Semantic.of(eye.to(job.device), photos.to(job.device), job.config.fit, ground.colour)


def _judged(field: NerfField, held: Photos, ground: Ground, job: Job) -> dict[str, Any]:
    """What asset.json says of the photos held out."""
    from dreamfusion3d.training.photometric import likeness

    found = likeness(field, held, job.config, generator=job.generator("judge"), ground=ground)
    psnr, ssim = found.means
    job.progress.say(f"held out: {len(held)} photos, PSNR {psnr:.2f} dB, SSIM {ssim:.4f}")
    views = [
        {"photo": name, "psnr": round(p, 3), "ssim": round(s, 5)}
        for name, p, s in zip(held.names, found.psnr, found.ssim, strict=True)
    ]
    return {"photos": len(held), "psnr": round(psnr, 3), "ssim": round(ssim, 5), "views": views}
