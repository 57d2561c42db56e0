"""Whether what the settings want of a mesh can be had, asked before hours of work and not after."""

from __future__ import annotations

from dreamfusion3d.core.config import MeshConfig
from dreamfusion3d.mesh.collision import check_parts
from dreamfusion3d.mesh.io.formats import check_formats
from dreamfusion3d.mesh.quads import check_quads


def check_wanted(settings: MeshConfig) -> None:
    """Raises InputError for a format that there is not, MissingExtraError for what is not installed."""
    check_formats(settings.formats)
    if settings.quads:
        check_quads()
    if settings.collision == "parts":
        check_parts()
