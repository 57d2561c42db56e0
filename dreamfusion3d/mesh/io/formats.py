"""Every format that an asset is written in: its frame, its function, what it needs.

A new format is a writer with the signature of `Writer`, a row in `FORMATS`, and its name in
`dreamfusion3d.core.config.resolve.FormatName`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dreamfusion3d.core.config import FormatName
from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.mesh.io import fbx, usdz
from dreamfusion3d.mesh.io.axes import CoordinateFrame, Units, UpAxis
from dreamfusion3d.mesh.io.gltf import GLTF_FRAME, Extras, write_glb, write_gltf
from dreamfusion3d.mesh.io.obj import write_obj
from dreamfusion3d.mesh.io.ply_stl import write_ply, write_stl
from dreamfusion3d.mesh.io.threemf import write_3mf

# (mesh in metres with +Y up, path, name, extras, frame of the file) -> files written, the one at path first
MeshWriter = Callable[[TexturedMesh, Path, str, Extras, CoordinateFrame], list[Path]]
Z_UP_MILLIMETERS = CoordinateFrame("z", "mm")  # for slicers: the bed is the floor, a unit a millimetre
LICENSE = "dreamfusion3d claims no rights in the assets that it makes"


def _no_requirements() -> None:
    """Writers of the base installation need nothing more."""


@dataclass(frozen=True)
class Format:
    """``frame`` is the one that readers of the format expect. ``fixed``: the format allows no other."""

    write: MeshWriter
    frame: CoordinateFrame
    fixed: bool = False
    check: Callable[[], None] = _no_requirements  # raises InputError where this machine cannot write it


FORMATS: Mapping[FormatName, Format] = {
    "glb": Format(write_glb, GLTF_FRAME, fixed=True),
    "gltf": Format(write_gltf, GLTF_FRAME, fixed=True),
    "obj": Format(write_obj, CoordinateFrame("y", "m")),
    "ply": Format(write_ply, CoordinateFrame("y", "m")),
    "stl": Format(write_stl, Z_UP_MILLIMETERS),
    "3mf": Format(write_3mf, Z_UP_MILLIMETERS),
    "usdz": Format(usdz.write_usdz, CoordinateFrame("y", "m"), check=usdz.require_usd),
    "fbx": Format(fbx.write_fbx, CoordinateFrame("y", "cm"), check=fbx.require_blender),
}


def check_formats(names: Iterable[FormatName]) -> None:
    """Raises InputError for the first format that lacks its package or program here.

    Asked before the work, not after it.
    """
    for name in names:
        FORMATS[name].check()


def resolve_frame(name: FormatName, up: UpAxis | None = None, units: Units | None = None) -> CoordinateFrame:
    """The format's own frame with what is asked for in place of its parts, where the format allows it."""
    own = FORMATS[name].frame
    return own if FORMATS[name].fixed else CoordinateFrame(up or own.up, units or own.units)


def write_asset(
    format_name: FormatName,
    textured: TexturedMesh,
    path: Path,
    name: str,
    extras: Extras,
    frame: CoordinateFrame | None = None,
) -> list[Path]:
    """Writes the mesh (metres, +Y up) at ``path``, ``name`` within, and companions of its name beside it.

    Returns the files written, the one at ``path`` first. Raises InputError where the format needs
    what is not installed.
    """
    return FORMATS[format_name].write(textured, path, name, extras, frame or FORMATS[format_name].frame)


def asset_extras(prompt: str, seed: int, prior: str, *, shipped: bool = False) -> Extras:
    """What a file says of its asset. ``shipped``: the prior's weights are the package's own, whatever
    its name; "none" where photos took its place."""
    is_shipped = shipped or prior == "embedded"
    source = "the photos" if prior == "none" else f"the prior '{prior}'"
    terms = LICENSE if is_shipped else f"{LICENSE}; {source} may come with terms"
    return {"prompt": prompt, "seed": seed, "generator": "dreamfusion3d", "license": terms}
