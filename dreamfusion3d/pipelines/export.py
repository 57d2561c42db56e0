"""A finished run written again: other formats, axes, units, height or pivot, without optimising.

The files go to a folder of their own, RUN/export by default, and asset.json is left as it is. It is the
record of the run: its config decides whether the same command is done already, and its `files` are what
that run wrote. An export in centimetres is not that.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

from dreamfusion3d.core import files
from dreamfusion3d.core.config import Config, FormatName, choice, with_values
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import Progress, Quiet
from dreamfusion3d.core.slug import slug
from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.mesh.io.axes import Pivot, Units, Up, place
from dreamfusion3d.mesh.io.formats import FORMATS, check_formats, extras_of, frame_of, write
from dreamfusion3d.mesh.io.gltf import read_glb
from dreamfusion3d.pipelines.stages import load_arrays
from dreamfusion3d.pipelines.workspace import Workspace, check_room, folder_errors
from dreamfusion3d.priors.pixel.prior import is_shipped


@dataclass(frozen=True)
class Run:
    """What a finished folder says of itself."""

    space: Workspace
    prompt: str
    seed: int
    prior: str
    prior_sha256: str
    height: float  # metres
    formats: tuple[str, ...]
    glb: Path  # where the run wrote it, if it did
    glb_sha256: str | None  # as it was written; None when the run wrote none
    called: str | None = None  # the name inside its files, where that is not the prompt's


def export(
    run: Path, formats: Sequence[str] | str | None = None, *, out: Path | None = None, up: str | None = None,
    units: str | None = None, height: float | None = None, pivot: str = "base",
    progress: Progress | None = None,
) -> list[Path]:
    """Writes the asset of a finished run folder; returns the main file of every format.

    What is None stays as the run has it (formats, height in metres) or as the format's readers expect
    it (up, units). Raises InputError for a folder that is no finished run, and for formats, axes,
    units, heights that do not exist or cannot be written here.
    """
    found, progress = read_run(run), progress or Quiet()
    wanted = {"mesh.formats": found.formats if formats is None else formats,
              "mesh.height": found.height if height is None else height}
    settings = with_values(Config(), wanted).mesh
    axis = cast(Up | None, up and choice(up, ("y", "z"), "--up"))
    unit = cast(Units | None, units and choice(units, get_args(Units), "--units"))
    foot = cast(Pivot, choice(pivot, get_args(Pivot), "--pivot"))
    check_formats(settings.formats)
    folder = found.space.folder / "export" if out is None else out
    if folder.resolve() == found.space.folder.resolve():
        raise InputError(f"--out {folder} is the run's own folder, which asset.json records; name another")
    check_room(folder)
    placed = place(textured_of(found, progress), settings.height, foot)
    # as the run does it: the file is called like its folder, what is inside by name or prompt
    name, shipped = slug(found.called or found.prompt), is_shipped(found.prior_sha256)
    extras = extras_of(found.prompt, found.seed, found.prior, shipped=shipped)
    written = []
    with folder_errors(folder):
        for kind in settings.formats:
            _tell_fixed(kind, axis, unit, progress)
            path = folder / f"{found.space.slug}.{kind}"
            written.append(write(kind, placed, path, name, extras, frame_of(kind, axis, unit))[0])
    return written


def read_run(folder: Path) -> Run:
    """What asset.json says; InputError when ``folder`` is no finished run."""
    space = Workspace(folder.resolve())
    if not folder.is_dir():
        what = "is a file; name the folder it is in" if folder.is_file() else "does not exist"
        raise InputError(f"{folder} {what}: a run's folder is OUT/<slug>, with its asset.json")
    if not space.report.exists():
        raise InputError(f"{folder} {_unfinished(space)}")
    try:
        record = json.loads(space.report.read_text(encoding="utf-8"))
        mesh = record["config"]["mesh"]
        return Run(
            space, str(record["prompt"]), int(record["seed"]), str(record["prior"]["name"]),
            str(record["prior"]["sha256"]),
            float(mesh["height"]), tuple(mesh["formats"]),
            # by the record's name: a folder may have been copied under another one
            space.folder / f"{slug(str(record['slug']))}.glb",
            record["files"].get(f"{record['slug']}.glb", {}).get("sha256"),
            str(record["name"]) if "name" in record else None,
        )
    except PermissionError:
        raise InputError(f"cannot read {space.report}: permission denied") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{space.report} is not the record of a run ({type(error).__name__}: {error});"
            " make the asset again"
        ) from None


def _unfinished(space: Workspace) -> str:
    """Why a folder without asset.json is not to be exported, and what to do."""
    try:
        prompt = json.loads(space.ticket.read_text(encoding="utf-8"))["prompt"]
        command = f'text2mesh {json.dumps(prompt, ensure_ascii=False)} --out {space.folder.parent}'
        return f"is not finished (no asset.json): run the command that began it again, as {command}"
    except (OSError, ValueError, KeyError, TypeError):
        pass
    inside = sorted(path.parent.name for path in space.folder.glob("*/asset.json"))
    if inside:
        return f"holds {len(inside)} runs and is none itself: name one of them, as {space.folder / inside[0]}"
    return "is no run's folder (no asset.json): name OUT/<slug>, which text2mesh wrote"


def textured_of(run: Run, progress: Progress) -> TexturedMesh:
    """The mesh of the run's last stage, or of its GLB when work/ is gone."""
    kept, glb = run.space.work / "textured.npz", run.glb
    if kept.exists():
        mesh = load_arrays(kept, TexturedMesh)
        if mesh is not None:
            return mesh
        progress.say(f"warning: {kept} is damaged; reading the GLB")
    if not glb.exists():
        raise InputError(
            f"{run.space.folder} has neither {kept.relative_to(run.space.folder)} nor a GLB with the mesh;"
            " make the asset again with glb among its formats"
        )
    try:
        if run.glb_sha256 != files.sha256(glb):
            progress.say(f"warning: {glb.name} is not as the run wrote it; taking what it holds now")
        return read_glb(glb)
    except PermissionError:
        raise InputError(f"cannot read {glb}: permission denied") from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise InputError(f"{glb} cannot be read ({error}); make the asset again with --fresh") from None


def _tell_fixed(kind: FormatName, up: Up | None, units: Units | None, progress: Progress) -> None:
    own = FORMATS[kind].frame
    if FORMATS[kind].fixed and ((up or own.up), (units or own.units)) != (own.up, own.units):
        progress.say(f"warning: {kind} is always {own}; --up and --units do not apply to it")
