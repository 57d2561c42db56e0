"""Whether what the settings want of a mesh can be had, asked before hours of work and not after."""

from __future__ import annotations

from dreamfusion3d.core.config import MeshConfig
from dreamfusion3d.mesh.collision import require_coacd
from dreamfusion3d.mesh.io.formats import check_formats
from dreamfusion3d.mesh.quads import require_quadriflow


def check_mesh_requirements(settings: MeshConfig) -> None:
    """Raises InputError for a format that there is not, MissingExtraError for what is not installed."""
    check_formats(settings.formats)
    if settings.quads:
        require_quadriflow()
    if settings.collision == "parts":
        require_coacd()
