"""A sentence to a finished folder: the prior teaches a field, the field becomes a mesh."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamfusion3d.core import config as configs
from dreamfusion3d.core import files
from dreamfusion3d.core import progress as progresses
from dreamfusion3d.core.backends import choose_device
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.slug import check_prompt
from dreamfusion3d.mesh.preflight import check_wanted
from dreamfusion3d.pipelines.asset_record import Made, asset_record
from dreamfusion3d.pipelines.context import Job, describe, fog_of, trained
from dreamfusion3d.pipelines.live_control import read_edits
from dreamfusion3d.pipelines.meshing import mesh_of
from dreamfusion3d.pipelines.stages import Stages, kept
from dreamfusion3d.pipelines.workspace import Identity, Source, check_room, claim, folder_errors

if TYPE_CHECKING:

    from dreamfusion3d.fields.initialization import Start
    from dreamfusion3d.fields.nerf import NerfField
    from dreamfusion3d.mesh.io.load import UserMesh
    from dreamfusion3d.priors.protocol import Prior, Prompts
    from dreamfusion3d.training.loop import Step

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
    prior: Prior | None = None,
    folder: str | None = None,
    called: str | None = None,
    budget: int | None = None,
) -> Asset:
    """OUT/<slug>/ with a textured mesh of ``prompt``, its pictures and its asset.json.

    A finished asset is returned as it is; an interrupted one goes on where it stopped;
    ``fresh`` starts over. The same prompt, seed, config and ``init`` give the same bytes.
    ``init`` is a mesh file that the field starts from: its solid, and its colours if it has any.
    ``prior`` is the one that ``config`` names when the caller has loaded it already; ``folder`` (a
    slug) takes the place of the prompt's, ``called`` (another) that in the files: node, material, textures.
    ``budget``: bytes of memory to plan the steps for; the asset is the same within rounding, and
    found again with any other.
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
        return mesh_of(field, job)

    source = Source.of("init", init) if init else None
    return in_folder(
        prompt, names, make, source=source, out=out, seed=seed, config=config, device=device, fresh=fresh,
        progress=progress, prior=prior, folder=folder, called=called, budget=budget,
    )


def in_folder(
    prompt: str, names: Sequence[str], make: Callable[[Job], Made], *, source: Source | None,
    out: Path | str, seed: int, config: Config, device: str, fresh: bool,
    progress: progresses.Progress | None, prior: Prior | None = None, folder: str | None = None,
    called: str | None = None, budget: int | None = None, more: Callable[[], dict[str, Any]] = dict,
) -> Asset:
    """The finished folder of a prompt: loads the prior, claims OUT/<slug>, lets ``make`` fill it.

    ``more`` is asked in the end what else asset.json is to say.
    """
    prompt, out = check_prompt(prompt), Path(out)
    configs.check(config)
    check_wanted(config.mesh)
    if not 0 <= seed < 2**63:
        raise InputError(f"the seed {seed} is not between 0 and 2^63 - 1")
    progress = progress or progresses.Quiet()
    stages = Stages(names, progress)
    with contextlib.closing(progress), folder_errors(out):
        check_room(out)
        where = choose_device(device)
        with stages(names[0]):
            from dreamfusion3d.priors.loading import load_prior
            from dreamfusion3d.priors.view_prompts import remarks

            prior = prior or load_prior(config.prior, device=where)
            for warning in remarks(prior, prompt, config):
                progress.say(f"warning: {warning}")
        identity = Identity(prompt, seed, config, prior.sha256, source)
        with claim(out, identity, folder) as space:
            if not fresh and (record := space.finished(identity)):
                progress.say(f"{space.folder} is done already; --fresh makes it anew")
                return Asset(space.folder, record)
            space.begin(identity, fresh)
            stages.keep_in(space.work / "seconds.json")
            job = Job(prior, identity, space, where, stages, budget, called)
            made = make(job)
            identity = dataclasses.replace(identity, edits=tuple(read_edits(space.work)))
            record = asset_record(identity, prior.name, space, str(where), stages.seconds, made)
            record |= more()
            if called is not None:
                record["name"] = job.name
            if plans := job.plans():
                record["memory"] = plans
            if failed := [name for name, check in record["checks"].items() if not check["passed"]]:
                progress.say(f"warning: of the asset's checks failed: {', '.join(failed)}")
            files.write_json(space.report, record)
    return Asset(space.folder, record)


def read_given(path: Path | str | None) -> UserMesh | None:
    """The user's mesh, looked over before anything is loaded or written; None without one."""
    if path is None:
        return None
    from dreamfusion3d.mesh.io.load import read_mesh

    return read_mesh(Path(path))


def _start(path: Path, given: UserMesh, job: Job) -> Start:
    """The solid of the user's mesh and its colours, from work/start.npz when they are there."""
    import numpy as np
    import torch

    from dreamfusion3d.fields.initialization import Start
    from dreamfusion3d.mesh.io.load import place_in_scene
    from dreamfusion3d.mesh.voxelize import Solid, solid_of

    def solid() -> Solid:
        return solid_of(path, given, place_in_scene(given.vertices[np.unique(given.faces)]), *START_SAMPLES)

    found = kept(job.space.work / "start.npz", Solid, solid, job.progress)
    return Start.of_solid(torch.from_numpy(found.depth), torch.from_numpy(found.colour), job.device)


def _optimised(job: Job, start: Start | None) -> NerfField:
    """The trained field, from work/field.safetensors when an earlier process came so far."""
    from dreamfusion3d.fields.nerf import NerfField
    from dreamfusion3d.training.distillation import optimize

    work = job.space.work
    begun = "solid" if start else "fog"
    start = start or _first_guess(job)
    describe(job, begun if start else "blob")
    field = NerfField(job.config.field, generator=job.generator("field"), start=start)

    def steps(text: Prompts, checkpoint: Path) -> Iterator[Step]:
        return optimize(
            field, job.prior, text, job.config, generator=job.generator("optimise"),
            checkpoint=checkpoint, preview=work / "preview.png",
            budget=job.budget, tell=job.told("optimise"),
        )

    trained(field, work / "field.safetensors", steps, "optimise", work / "checkpoint.safetensors", job)
    return field


def _first_guess(job: Job) -> Start | None:
    """What the prior takes the scene for before any picture is made, where it can say so."""
    if job.config.field.start != "prior":
        return None
    return fog_of(job.prior, job.identity.prompt, job.device)
