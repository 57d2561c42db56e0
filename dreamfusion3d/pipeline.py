"""A sentence to a finished folder: the prior teaches a field, the field becomes a mesh."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamfusion3d import config as configs
from dreamfusion3d import files
from dreamfusion3d import progress as progresses
from dreamfusion3d.config import Config
from dreamfusion3d.errors import InputError
from dreamfusion3d.record import Made, asset_record, in_metres
from dreamfusion3d.slug import check_prompt, hashed, slug
from dreamfusion3d.stages import Stages, kept
from dreamfusion3d.types import Mesh, TexturedMesh
from dreamfusion3d.workspace import Identity, Workspace, check_room, claim, folder_errors

if TYPE_CHECKING:
    import torch

    from dreamfusion3d.field.nerf import NerfField

STAGES = ("prior", "optimise", "extract", "simplify", "texture", "export", "pictures")


@dataclass(frozen=True)
class Asset:
    """A finished folder. ``record`` is the content of its asset.json."""

    folder: Path
    record: dict[str, Any]

    @property
    def main(self) -> Path:
        """The GLB, or the first of the formats when no GLB was asked for."""
        formats = self.record["config"]["mesh"]["formats"]
        return self.folder / f"{self.folder.name}.{'glb' if 'glb' in formats else formats[0]}"

    @property
    def passed(self) -> bool:
        return all(check["passed"] for check in self.record["checks"].values())


def text_to_mesh(
    prompt: str,
    *,
    out: Path | str = "out",
    seed: int = 0,
    config: Config | None = None,
    device: str = "auto",
    fresh: bool = False,
    progress: progresses.Progress | None = None,
) -> Asset:
    """OUT/<slug>/ with a textured mesh of ``prompt``, its pictures and its asset.json.

    A finished asset is returned as it is; an interrupted one goes on where it stopped;
    ``fresh`` starts over. The same prompt, seed and config give the same bytes.
    """
    prompt, out, config = check_prompt(prompt), Path(out), config or Config()
    configs.check(config)
    if not 0 <= seed < 2**63:
        raise InputError(f"the seed {seed} is not between 0 and 2^63 - 1")
    progress = progress or progresses.Quiet()
    stages = Stages(STAGES, progress)
    with contextlib.closing(progress), folder_errors(out):
        check_room(out)
        where = choose_device(device)
        with stages("prior"):
            from dreamfusion3d.prior import load_prior
            from dreamfusion3d.prior.prompts import remarks

            prior = load_prior(config.prior, device=where)
            for warning in remarks(prior, prompt, config):
                progress.say(f"warning: {warning}")
        identity = Identity(prompt, seed, config, prior.sha256)
        with claim(out, identity) as space:
            if not fresh and (record := space.finished(identity)):
                progress.say(f"{space.folder} is done already; --fresh makes it anew")
                return Asset(space.folder, record)
            space.begin(identity, fresh)
            stages.keep_in(space.work / "seconds.json")
            with stages("optimise"):
                field = _optimised(prior, identity, space, where, progress)
            made = _mesh_of(field, identity, space, where, stages)
            record = asset_record(identity, prior.name, space, str(where), stages.seconds, made)
            files.write_json(space.report, record)
    return Asset(space.folder, record)


def choose_device(name: str) -> torch.device:
    """The device called ``name``; "auto" is the GPU where there is one."""
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise InputError(f"device {name!r} is not one of auto, cpu, cuda") from None
    if device.type not in ("cpu", "cuda"):
        raise InputError(f"device {name!r} is not one of auto, cpu, cuda")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device {name!r}: torch finds no such CUDA device; use --device cpu")
    return device


def generator_for(seed: int, stage: str, device: torch.device) -> torch.Generator:
    """An own stream of random numbers a stage, so that resuming at one does not shift the next."""
    import torch

    return torch.Generator(device=device).manual_seed(int(hashed(f"{seed} {stage}", length=15), 16))


def _optimised(
    prior: Any, identity: Identity, space: Workspace, device: torch.device, progress: progresses.Progress
) -> NerfField:
    """The trained field, from work/field.safetensors when an earlier process came so far."""
    from safetensors import SafetensorError
    from safetensors.torch import load, save

    from dreamfusion3d.field.nerf import NerfField
    from dreamfusion3d.optimize import optimize
    from dreamfusion3d.prior.prompts import encode_prompts

    config, path = identity.config, space.work / "field.safetensors"
    field = NerfField(config.field, generator=generator_for(identity.seed, "field", device))
    if path.exists():
        try:
            field.load_state_dict(load(path.read_bytes()))
            return field
        except (SafetensorError, RuntimeError):
            progress.say(f"{path.name} is damaged; optimising again")
    text = encode_prompts(prior, identity.prompt, config.prompts)
    steps = optimize(
        field, prior, text, config,
        generator=generator_for(identity.seed, "optimise", device),
        checkpoint=space.work / "checkpoint.safetensors",
        preview=space.work / "preview.png",
    )
    for step in steps:
        progress.step(step.index, step.total, f"gradient {step.gradient_norm:.2g}")
        if step.note:
            progress.say(f"warning: {step.note}")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in field.state_dict().items()}
    files.write_bytes(path, save(state))
    return field


def _mesh_of(
    field: NerfField, identity: Identity, space: Workspace, device: torch.device, stages: Stages
) -> Made:
    """Extract, simplify, texture, export, pictures; each from its file when it is there."""
    from dreamfusion3d.mesh.bake import bake
    from dreamfusion3d.mesh.export import place, write_glb, write_obj
    from dreamfusion3d.mesh.quality import quality
    from dreamfusion3d.mesh.simplify import simplify, smooth
    from dreamfusion3d.render.video import write_thumbnail, write_turntable
    from dreamfusion3d.surface import Surface, numpy_of, surface_of

    settings, progress, work = identity.config.mesh, stages.progress, space.work
    with stages("extract"):
        def extract() -> Surface:
            return surface_of(field, settings.resolution, generator_for(identity.seed, "extract", device))

        found = kept(work / "surface.npz", Surface, extract, progress)
    with stages("simplify"):
        rough = smooth(Mesh(found.vertices, found.faces))
        mesh = kept(work / "mesh.npz", Mesh, lambda: simplify(rough, settings.faces), progress)
    with stages("texture"):
        albedo = numpy_of(field.albedo, device)
        textured = kept(
            work / "textured.npz", TexturedMesh, lambda: bake(mesh, albedo, settings.texture_size), progress
        )
    with stages("export"):
        placed = place(textured, settings.height)
        # the node keeps the plain slug, so that the bytes do not depend on what else is in OUT
        name = slug(identity.prompt)
        extras = {"prompt": identity.prompt, "seed": identity.seed, "generator": "dreamfusion3d"}
        written: list[Path] = []
        if "glb" in settings.formats:
            write_glb(placed, space.asset("glb"), name, extras)
            written.append(space.asset("glb"))
        if "obj" in settings.formats:
            write_obj(placed, space.asset("obj"), name)
            written += [space.asset("obj"), space.folder / f"{name}.mtl", space.folder / f"{name}.png"]
    with stages("pictures"):
        pictures = (space.folder / "thumbnail.png", space.folder / "turntable.mp4")
        write_thumbnail(textured, pictures[0])
        write_turntable(textured, pictures[1])
        written += pictures
    return Made(written, in_metres(quality(mesh), placed), float(found.silhouette_iou))
