"""Export a finished run again: other formats, axes, units, height or pivot, without optimizing.

The files go to a separate folder, RUN/export by default. asset.json stays as it is: it records the run and its files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast, get_args

import numpy as np

from dreamfusion3d.core.config import Config, FormatName, check_choice, override_config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.folders import check_free_space, translate_folder_errors
from dreamfusion3d.core.progress import Progress, QuietProgress
from dreamfusion3d.core.types import UpAxis
from dreamfusion3d.mesh.io.axes import Pivot, Units, scale_to_height
from dreamfusion3d.mesh.io.formats import FORMATS, asset_extras, check_formats, resolve_frame, write_asset
from dreamfusion3d.pipelines.run_reader import load_textured_mesh, read_run
from dreamfusion3d.priors.pixel.prior import is_embedded_prior


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
        height: Height in meters; the run's by default, or that of a user's mesh.
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
        "mesh.height_m": finished.height_m if height is None else height,
    }
    settings = override_config(Config(), overrides).mesh
    up_axis = cast(UpAxis | None, up and check_choice(up, ("y", "z"), "--up"))
    unit = cast(Units | None, units and check_choice(units, get_args(Units), "--units"))
    pivot_choice = cast(Pivot, check_choice(pivot, get_args(Pivot), "--pivot"))
    check_formats(settings.formats)
    folder = finished.workspace.folder / "export" if out is None else out
    if folder.resolve() == finished.workspace.folder.resolve():
        raise InputError(f"--out {folder} is the run's own folder, whose files asset.json records; choose another")
    check_free_space(folder)
    mesh = load_textured_mesh(finished, progress)
    own_height = max(float(np.ptp(mesh.vertices[:, 1])), 1e-9)  # a flat mesh stays as it is
    placed = scale_to_height(mesh, settings.height_m or own_height, pivot_choice)
    # as in the run: files take the folder's name, their contents the asset's
    shipped = is_embedded_prior(finished.prior_sha256)
    extras = asset_extras(finished.prompt, finished.seed, finished.prior_name, shipped=shipped)
    written = []
    with translate_folder_errors(folder):
        for format_name in settings.formats:
            _warn_fixed_axes(format_name, up_axis, unit, progress)
            path = folder / f"{finished.workspace.slug}.{format_name}"
            frame = resolve_frame(format_name, up_axis, unit)
            written.append(write_asset(format_name, placed, path, finished.asset_name, extras, frame)[0])
    return written


def _warn_fixed_axes(format_name: FormatName, up: UpAxis | None, units: Units | None, progress: Progress) -> None:
    """Warn if the format's specification fixes what ``up`` or ``units`` should change."""
    default = FORMATS[format_name].frame
    if FORMATS[format_name].fixed and ((up or default.up), (units or default.units)) != (default.up, default.units):
        progress.warn(f"{format_name} is always {default}; --up and --units do not apply to it")
