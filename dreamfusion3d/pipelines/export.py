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
from dreamfusion3d.core.config import Config, FormatName, check_choice, override_config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.folders import check_free_space, translate_folder_errors
from dreamfusion3d.core.progress import Progress, QuietProgress
from dreamfusion3d.core.slug import slugify
from dreamfusion3d.core.types import TexturedMesh, UpAxis
from dreamfusion3d.mesh.io.axes import Pivot, Units, scale_to_height
from dreamfusion3d.mesh.io.formats import FORMATS, asset_extras, check_formats, resolve_frame, write_asset
from dreamfusion3d.mesh.io.gltf import read_glb
from dreamfusion3d.pipelines.stages import load_arrays
from dreamfusion3d.pipelines.workspace import Workspace
from dreamfusion3d.priors.pixel.prior import is_embedded_prior


@dataclass(frozen=True)
class FinishedRun:
    """What a finished folder says of itself."""

    workspace: Workspace
    prompt: str
    seed: int
    prior_name: str
    prior_sha256: str
    height: float  # metres
    formats: tuple[str, ...]
    glb: Path  # where the run wrote it, if it did
    glb_sha256: str | None  # as it was written; None when the run wrote none
    asset_name: str | None = None  # the name inside its files, where that is not the prompt's


def export_run(
    run: Path,
    formats: Sequence[str] | str | None = None,
    *,
    out: Path | None = None,
    up: str | None = None,
    units: str | None = None,
    height: float | None = None,
    pivot: str = "base",
    progress: Progress | None = None,
) -> list[Path]:
    """Export the asset of a finished run again, without optimizing it.

    Args:
        run: The run's folder, OUT/<slug>.
        formats: Names of formats, e.g. "glb,usdz"; those of the run by default.
        out: Folder of the files; RUN/export by default.
        up: Upward axis, "y" or "z"; by default the one that readers of the format expect.
        units: "m", "cm" or "mm"; by default the unit that readers of the format expect.
        height: Height in meters; the run's by default.
        pivot: "base" or "center" of the bounding box.
        progress: Receives warnings; silent by default.

    Returns:
        The main file of every format.

    Raises:
        InputError: The folder is not a finished run, or a format, axis, unit or height is invalid.

    Example:
        >>> files = export_run(Path("out/a_red_mug"), "obj", units="cm")
        >>> [file.name for file in files]
        ['a_red_mug.obj']
    """
    finished, progress = read_run(run), progress or QuietProgress()
    overrides = {
        "mesh.formats": finished.formats if formats is None else formats,
        "mesh.height_m": finished.height if height is None else height,
    }
    settings = override_config(Config(), overrides).mesh
    up_axis = cast(UpAxis | None, up and check_choice(up, ("y", "z"), "--up"))
    unit = cast(Units | None, units and check_choice(units, get_args(Units), "--units"))
    pivot_choice = cast(Pivot, check_choice(pivot, get_args(Pivot), "--pivot"))
    check_formats(settings.formats)
    folder = finished.workspace.folder / "export" if out is None else out
    if folder.resolve() == finished.workspace.folder.resolve():
        raise InputError(f"--out {folder} is the run's own folder, which asset.json records; name another")
    check_free_space(folder)
    placed = scale_to_height(load_textured_mesh(finished, progress), settings.height_m, pivot_choice)
    # as the run does it: the file is called like its folder, what is inside by name or prompt
    name, shipped = slugify(finished.asset_name or finished.prompt), is_embedded_prior(finished.prior_sha256)
    extras = asset_extras(finished.prompt, finished.seed, finished.prior_name, shipped=shipped)
    written = []
    with translate_folder_errors(folder):
        for format_name in settings.formats:
            _warn_fixed_axes(format_name, up_axis, unit, progress)
            path = folder / f"{finished.workspace.slug}.{format_name}"
            written.append(
                write_asset(format_name, placed, path, name, extras, resolve_frame(format_name, up_axis, unit))[0]
            )
    return written


def read_run(folder: Path) -> FinishedRun:
    """What asset.json says; InputError when ``folder`` is no finished run."""
    workspace = Workspace(folder.resolve())
    if not folder.is_dir():
        what = "is a file; name the folder it is in" if folder.is_file() else "does not exist"
        raise InputError(f"{folder} {what}: a run's folder is OUT/<slug>, with its asset.json")
    if not workspace.record_path.exists():
        raise InputError(f"{folder} {_explain_unfinished(workspace)}")
    try:
        record = json.loads(workspace.record_path.read_text(encoding="utf-8"))
        mesh = record["config"]["mesh"]
        return FinishedRun(
            workspace,
            str(record["prompt"]),
            int(record["seed"]),
            str(record["prior"]["name"]),
            str(record["prior"]["sha256"]),
            float(mesh["height_m"]),
            tuple(mesh["formats"]),
            # by the record's name: a folder may have been copied under another one
            workspace.folder / f"{slugify(str(record['slug']))}.glb",
            record["files"].get(f"{record['slug']}.glb", {}).get("sha256"),
            str(record["name"]) if "name" in record else None,
        )
    except PermissionError:
        raise InputError(f"cannot read {workspace.record_path}: permission denied") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"{workspace.record_path} is not the record of a run ({type(error).__name__}: {error});"
            " make the asset again"
        ) from None


def _explain_unfinished(workspace: Workspace) -> str:
    """Why a folder without asset.json is not to be exported, and what to do."""
    try:
        prompt = json.loads(workspace.run_info_path.read_text(encoding="utf-8"))["prompt"]
        command = f"text2mesh {json.dumps(prompt, ensure_ascii=False)} --out {workspace.folder.parent}"
        return f"is not finished (no asset.json): run the command that began it again, as {command}"
    except (OSError, ValueError, KeyError, TypeError):
        pass
    run_names = sorted(path.parent.name for path in workspace.folder.glob("*/asset.json"))
    if run_names:
        return f"holds {len(run_names)} runs and is none itself: name one of them, as {workspace.folder / run_names[0]}"
    return "is no run's folder (no asset.json): name OUT/<slug>, which text2mesh wrote"


def load_textured_mesh(run: FinishedRun, progress: Progress) -> TexturedMesh:
    """The mesh of the run's last stage, or of its GLB when work/ is gone."""
    stage_path, glb = run.workspace.work / "textured.npz", run.glb
    if stage_path.exists():
        mesh = load_arrays(stage_path, TexturedMesh)
        if mesh is not None:
            return mesh
        progress.warn(f"{stage_path} is damaged; reading the GLB")
    if not glb.exists():
        raise InputError(
            f"{run.workspace.folder} has neither {stage_path.relative_to(run.workspace.folder)} nor a GLB;"
            " make the asset again with glb among its formats"
        )
    try:
        if run.glb_sha256 != files.file_sha256(glb):
            progress.warn(f"{glb.name} is not as the run wrote it; taking what it holds now")
        return read_glb(glb)
    except PermissionError:
        raise InputError(f"cannot read {glb}: permission denied") from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise InputError(f"{glb} cannot be read ({error}); generate the asset again with --no-resume") from None


def _warn_fixed_axes(format_name: FormatName, up: UpAxis | None, units: Units | None, progress: Progress) -> None:
    default = FORMATS[format_name].frame
    if FORMATS[format_name].fixed and ((up or default.up), (units or default.units)) != (default.up, default.units):
        progress.warn(f"{format_name} is always {default}; --up and --units do not apply to it")
