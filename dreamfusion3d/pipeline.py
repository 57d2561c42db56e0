"""A sentence to a finished folder: the prior teaches a field, the field becomes a mesh."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from dreamfusion3d import config as configs
from dreamfusion3d import files
from dreamfusion3d import progress as progresses
from dreamfusion3d.config import Config
from dreamfusion3d.errors import InputError
from dreamfusion3d.mesh.formats import check_formats
from dreamfusion3d.record import Made, asset_record, in_metres
from dreamfusion3d.slug import check_prompt, hashed, slug
from dreamfusion3d.stages import Stages, kept
from dreamfusion3d.types import Mesh, TexturedMesh
from dreamfusion3d.workspace import Identity, Source, Workspace, check_room, claim, folder_errors

if TYPE_CHECKING:
    import numpy as np
    import torch

    from dreamfusion3d.field.nerf import NerfField
    from dreamfusion3d.field.start import Start
    from dreamfusion3d.mesh.load import UserMesh
    from dreamfusion3d.optimize import Step
    from dreamfusion3d.prior.protocol import Prior

Colours: TypeAlias = "Callable[[torch.Tensor], torch.Tensor]"  # of points on a surface
STAGES = ("prior", "optimise", "extract", "simplify", "texture", "export", "pictures")
START_SAMPLES = (128, 64)  # along an edge of the scene: of the solid that a run starts from, of its colours


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


@dataclass(frozen=True)
class Job:
    """What every stage of one asset works with."""

    prior: Prior
    identity: Identity
    space: Workspace
    device: torch.device
    stages: Stages

    @property
    def config(self) -> Config:
        return self.identity.config

    @property
    def progress(self) -> progresses.Progress:
        return self.stages.progress

    def generator(self, stage: str) -> torch.Generator:
        return generator_for(self.identity.seed, stage, self.device)


def text_to_mesh(
    prompt: str,
    *,
    out: Path | str = "out",
    seed: int = 0,
    config: Config | None = None,
    init: Path | str | None = None,
    device: str = "auto",
    fresh: bool = False,
    progress: progresses.Progress | None = None,
) -> Asset:
    """OUT/<slug>/ with a textured mesh of ``prompt``, its pictures and its asset.json.

    A finished asset is returned as it is; an interrupted one goes on where it stopped;
    ``fresh`` starts over. The same prompt, seed, config and ``init`` give the same bytes.
    ``init`` is a mesh file that the field starts from: its solid, and its colours if it has any.
    """
    config = config or Config()
    start, refine = ["start"] if init else [], ["refine"] if config.mesh.refine_steps else []
    names = [*STAGES[:1], *start, *STAGES[1:4], *refine, *STAGES[4:]]
    given = read_given(init)

    def make(job: Job) -> Made:
        solid = None
        if init and given:
            with job.stages("start"):
                solid = _start(Path(init), given, job)
        with job.stages("optimise"):
            field = _optimised(job, solid)
        return _mesh_of(field, job)

    source = Source.of("init", init) if init else None
    return in_folder(
        prompt, names, make, source=source, out=out, seed=seed, config=config, device=device, fresh=fresh,
        progress=progress,
    )


def in_folder(
    prompt: str, names: Sequence[str], make: Callable[[Job], Made], *, source: Source | None,
    out: Path | str, seed: int, config: Config, device: str, fresh: bool,
    progress: progresses.Progress | None,
) -> Asset:
    """The finished folder of a prompt: loads the prior, claims OUT/<slug>, lets ``make`` fill it."""
    prompt, out = check_prompt(prompt), Path(out)
    configs.check(config)
    check_formats(config.mesh.formats)
    if not 0 <= seed < 2**63:
        raise InputError(f"the seed {seed} is not between 0 and 2^63 - 1")
    progress = progress or progresses.Quiet()
    stages = Stages(names, progress)
    with contextlib.closing(progress), folder_errors(out):
        check_room(out)
        where = choose_device(device)
        with stages("prior"):
            from dreamfusion3d.prior import load_prior

            prior = load_prior(config.prior.name, device=where)
            for warning in prior.check_prompt(prompt):
                progress.say(f"warning: {warning}")
        identity = Identity(prompt, seed, config, prior.sha256, source)
        with claim(out, identity) as space:
            if not fresh and (record := space.finished(identity)):
                progress.say(f"{space.folder} is done already; --fresh makes it anew")
                return Asset(space.folder, record)
            space.begin(identity, fresh)
            stages.keep_in(space.work / "seconds.json")
            made = make(Job(prior, identity, space, where, stages))
            record = asset_record(identity, prior.name, space, str(where), stages.seconds, made)
            files.write_json(space.report, record)
    return Asset(space.folder, record)


def read_given(path: Path | str | None) -> UserMesh | None:
    """The user's mesh, looked over before anything is loaded or written; None without one."""
    if path is None:
        return None
    from dreamfusion3d.mesh.load import read_mesh

    return read_mesh(Path(path))


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


def _start(path: Path, given: UserMesh, job: Job) -> Start:
    """The solid of the user's mesh and its colours, from work/start.npz when they are there."""
    import numpy as np
    import torch

    from dreamfusion3d.field.start import Start
    from dreamfusion3d.mesh.load import place_in_scene
    from dreamfusion3d.mesh.solid import Solid, solid_of

    def solid() -> Solid:
        return solid_of(path, given, place_in_scene(given.vertices[np.unique(given.faces)]), *START_SAMPLES)

    found = kept(job.space.work / "start.npz", Solid, solid, job.progress)
    return Start(torch.from_numpy(found.depth), torch.from_numpy(found.colour), job.device)


def _optimised(job: Job, start: Start | None) -> NerfField:
    """The trained field, from work/field.safetensors when an earlier process came so far."""
    from dreamfusion3d.field.nerf import NerfField
    from dreamfusion3d.optimize import optimize

    work = job.space.work
    field = NerfField(job.config.field, generator=job.generator("field"), start=start)

    def steps() -> Iterator[Step]:
        text = job.prior.encode_text([job.identity.prompt, ""])  # the second row is unconditional
        return optimize(
            field, job.prior, text, job.config, generator=job.generator("optimise"),
            checkpoint=work / "checkpoint.safetensors", preview=work / "preview.png",
        )

    trained(field, work / "field.safetensors", steps, job.progress)
    return field


def trained(
    field: torch.nn.Module, path: Path, begin: Callable[[], Iterator[Step]], progress: progresses.Progress
) -> None:
    """Takes the steps of ``begin``, or what they led to from ``path`` when it is there."""
    from safetensors import SafetensorError
    from safetensors.torch import load, save

    if path.exists():
        try:
            field.load_state_dict(load(path.read_bytes()))
            return
        except (SafetensorError, RuntimeError):
            progress.say(f"{path.name} is damaged; optimising again")
    for step in begin():
        progress.step(step.index, step.total, f"gradient {step.gradient_norm:.2g}")
        if step.note:
            progress.say(f"warning: {step.note}")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in field.state_dict().items()}
    files.write_bytes(path, save(state))


def _mesh_of(field: NerfField, job: Job) -> Made:
    """Extract, simplify, (refine,) texture, export, pictures; each from its file when it is there."""
    from dreamfusion3d.mesh.checks import finish_report
    from dreamfusion3d.mesh.export import place
    from dreamfusion3d.mesh.lods import lod_meshes
    from dreamfusion3d.mesh.quality import quality
    from dreamfusion3d.mesh.simplify import simplify, smooth, vertex_normals
    from dreamfusion3d.surface import Surface, mesh_silhouette_iou, surface_of

    settings, progress, work, stages = job.config.mesh, job.progress, job.space.work, job.stages
    with stages("extract"):
        def extract() -> Surface:
            return surface_of(field, settings.resolution, job.generator("extract"))

        found = kept(work / "surface.npz", Surface, extract, progress)
    with stages("simplify"):
        found_mesh = Mesh(found.vertices, found.faces)
        rough = smooth(found_mesh, settings.smoothing)
        mesh = kept(work / "mesh.npz", Mesh, lambda: simplify(rough, settings.faces), progress)
        chain = lod_meshes(mesh, settings.lods)
        if len(chain) < settings.lods:
            progress.say(f"warning: the shape allows {len(chain)} levels of detail, not {settings.lods}")
    colours: Colours = field.albedo
    if settings.refine_steps:
        from dreamfusion3d.paint import from_colours

        with stages("refine"):
            colours = painted(
                mesh, vertex_normals(mesh), field.albedo, from_colours(job.config), settings.refine_steps, job
            )
    with stages("texture"):
        levels = _dressed(chain, rough, colours, job)
    with stages("export"):
        placed = place(levels[0], settings.height)
        written = export_files(placed, job) + _engine_files(levels, mesh, job)
    with stages("pictures"):
        written += draw_pictures(levels[0], job)
    finish = finish_report(mesh, placed, found_mesh, mesh_silhouette_iou(mesh, found.opacity))
    return Made(written, in_metres(quality(mesh), placed), float(found.silhouette_iou), finish)


def _dressed(chain: list[Mesh], rough: Mesh, colours: Colours, job: Job) -> list[TexturedMesh]:
    """Every level of detail with an atlas, the colours, and the detail of the ``rough`` surface."""
    from dreamfusion3d.mesh.detail import fine_surface
    from dreamfusion3d.mesh.lods import dress, lod_texture_size
    from dreamfusion3d.surface import numpy_of

    settings, work = job.config.mesh, job.space.work
    albedo, fine = numpy_of(colours, job.device), fine_surface(rough)

    def dressed(level: int) -> TexturedMesh:
        size = lod_texture_size(settings.texture_size, level)
        return dress(
            chain[level], albedo, fine, size, settings.texture_samples,
            normal_map=settings.normal_map, occlusion=settings.occlusion,
        )

    paths = [work / ("textured.npz" if i == 0 else f"textured_{i}.npz") for i in range(len(chain))]
    return [
        kept(path, TexturedMesh, functools.partial(dressed, i), job.progress) for i, path in enumerate(paths)
    ]


def painted(
    mesh: Mesh, normals: np.ndarray, first: Colours, config: Config, steps: int, job: Job
) -> Colours:
    """Colours on the surface of ``mesh`` (scene units) that the prior's SDS led to from ``first``."""
    from dreamfusion3d.field.paint import PaintField
    from dreamfusion3d.paint import paint

    work = job.space.work
    field = PaintField(config.paint, first, generator=job.generator("paint field"))

    def begin() -> Iterator[Step]:
        text = job.prior.encode_text([job.identity.prompt, ""])
        return paint(
            field, mesh, normals, job.prior, text, config, steps, generator=job.generator("paint"),
            checkpoint=work / "paint_checkpoint.safetensors", preview=work / "paint_preview.png",
        )

    trained(field, work / "paint.safetensors", begin, job.progress)
    return field.albedo


def export_files(placed: TexturedMesh, job: Job) -> list[Path]:
    """The asset in every format that was asked for."""
    from dreamfusion3d.mesh.formats import extras_of, write

    # the node keeps the plain slug, so that the bytes do not depend on what else is in OUT
    name = slug(job.identity.prompt)
    extras = extras_of(job.identity.prompt, job.identity.seed, job.prior.name)
    written: list[Path] = []
    for kind in job.config.mesh.formats:
        written += write(kind, placed, job.space.asset(kind), name, extras)
    return written


def _engine_files(levels: list[TexturedMesh], mesh: Mesh, job: Job) -> list[Path]:
    """<slug>_lods.glb and <slug>_collision.glb, where they were asked for."""
    from dreamfusion3d.mesh.collision import convex_hull, convex_parts
    from dreamfusion3d.mesh.engine import write_collision, write_lods
    from dreamfusion3d.mesh.export import place_like

    space, settings, name = job.space, job.config.mesh, slug(job.identity.prompt)
    written: list[Path] = []
    placed = [place_like(level, levels[0], settings.height) for level in levels]
    if settings.lods > 1:
        written += write_lods(placed, space.folder / f"{space.slug}_lods.glb", name)
    if settings.collision != "none":
        bodies = [convex_hull(mesh)] if settings.collision == "hull" else convex_parts(mesh)
        bodies = [place_like(body, levels[0], settings.height) for body in bodies]
        path = space.folder / f"{space.slug}_collision.glb"
        written += write_collision(placed[0], bodies, path, name, settings.collision_names)
    return written


def draw_pictures(textured: TexturedMesh, job: Job) -> list[Path]:
    """The thumbnail and the turntable."""
    from dreamfusion3d.render.video import write_thumbnail, write_turntable

    pictures = [job.space.folder / "thumbnail.png", job.space.folder / "turntable.mp4"]
    write_thumbnail(textured, pictures[0])
    write_turntable(textured, pictures[1])
    return pictures
