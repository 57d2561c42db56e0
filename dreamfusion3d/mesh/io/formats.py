"""Registry of the output formats: writer, coordinate frame and requirements of each.

To add a format, write a function with the signature of `MeshWriter`, and add a row to `FORMATS` and the
name to `dreamfusion3d.core.config.schema.FormatName`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dreamfusion3d.core.config import FormatName, MeshConfig
from dreamfusion3d.core.types import TexturedMesh, UpAxis
from dreamfusion3d.mesh.collision import require_coacd
from dreamfusion3d.mesh.io import fbx, usdz
from dreamfusion3d.mesh.io.axes import CoordinateFrame, Units
from dreamfusion3d.mesh.io.gltf import GLTF_FRAME, Extras, write_glb, write_gltf
from dreamfusion3d.mesh.io.obj import write_obj
from dreamfusion3d.mesh.io.ply_stl import write_ply, write_stl
from dreamfusion3d.mesh.io.threemf import write_3mf
from dreamfusion3d.mesh.quads import require_quadriflow

# (mesh in meters with +Y up, path, name, extras, frame of the file) -> files written, the one at `path` first
MeshWriter = Callable[[TexturedMesh, Path, str, Extras, CoordinateFrame], list[Path]]
Z_UP_MILLIMETERS = CoordinateFrame("z", "mm")  # as slicers expect
LICENSE = "dreamfusion3d claims no rights in the assets that it makes"


@dataclass(frozen=True)
class Format:
    """One output format."""

    write: MeshWriter
    frame: CoordinateFrame  # the default, which readers of the format expect
    fixed: bool = False  # the format allows no other frame
    check: Callable[[], None] = lambda: None  # raises InputError if this machine cannot write it


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
    """Raise InputError for the first format whose package or program is not installed."""
    for name in names:
        FORMATS[name].check()


def check_mesh_requirements(settings: MeshConfig) -> None:
    """Raise InputError if something the mesh settings need is not installed; call this before training."""
    check_formats(settings.formats)
    if settings.quads:
        require_quadriflow()
    if settings.collision == "parts":
        require_coacd()


def resolve_frame(name: FormatName, up: UpAxis | None = None, units: Units | None = None) -> CoordinateFrame:
    """Return the frame of a format with the given overrides, which fixed formats ignore."""
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
    """Write a mesh (meters, +Y up) as an object called ``name``, with companions such as textures beside it.

    ``frame`` is by default that of the format. Returns the files written, the one at ``path`` first.
    Raises InputError if the format needs a package or program that is not installed.
    """
    return FORMATS[format_name].write(textured, path, name, extras, frame or FORMATS[format_name].frame)


def asset_extras(prompt: str, seed: int, prior: str, *, shipped: bool = False) -> Extras:
    """Return the metadata stored in a file.

    ``shipped`` means that the weights of the prior come with this package under any name; the prior is
    "none" for an asset reconstructed from photos.
    """
    is_shipped = shipped or prior == "embedded"
    source = "the photos" if prior == "none" else f"the prior '{prior}'"
    terms = LICENSE if is_shipped else f"{LICENSE}; {source} may come with terms"
    return {"prompt": prompt, "seed": seed, "generator": "dreamfusion3d", "license": terms}
