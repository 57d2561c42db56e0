"""Text to textured 3D meshes by score distillation into a hash-grid NeRF.

The names below are the public API. They are imported on first use (PEP 562), so that `import dreamfusion3d`
takes milliseconds and loads neither torch nor numba.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dreamfusion3d.cameras.capture import read_photos as read_photos
    from dreamfusion3d.cameras.orbit import OrbitCameras as OrbitCameras, sample_orbit_cameras as sample_orbit_cameras
    from dreamfusion3d.cameras.pinhole import PinholeCameras as PinholeCameras
    from dreamfusion3d.core.config import Config as Config, resolve_config as resolve_config
    from dreamfusion3d.core.errors import InputError as InputError
    from dreamfusion3d.core.types import Mesh as Mesh, Render as Render, TexturedMesh as TexturedMesh
    from dreamfusion3d.fields.nerf import NerfField as NerfField
    from dreamfusion3d.guidance import csd as csd, ism as ism, load_guidance as load_guidance, sds as sds, vsd as vsd
    from dreamfusion3d.pipelines.asset_record import Asset as Asset
    from dreamfusion3d.pipelines.export import export_run as export_run
    from dreamfusion3d.pipelines.photos_to_mesh import photos_to_mesh as photos_to_mesh
    from dreamfusion3d.pipelines.retexture import retexture_mesh as retexture_mesh
    from dreamfusion3d.pipelines.surface_extraction import extract_surface as extract_surface
    from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh as text_to_mesh
    from dreamfusion3d.priors.loading import load_prior as load_prior
    from dreamfusion3d.priors.protocol import Prior as Prior
    from dreamfusion3d.priors.view_prompts import encode_prompts as encode_prompts
    from dreamfusion3d.rendering.mesh_renderer import render_mesh as render_mesh
    from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid as OccupancyGrid
    from dreamfusion3d.rendering.volume import render_field as render_field
    from dreamfusion3d.training.distillation import distill_field as distill_field
    from dreamfusion3d.training.photometric import fit_photos as fit_photos
    from dreamfusion3d.training.texture import distill_texture as distill_texture

__version__ = "0.2.0"

_MODULES = {
    # from a prompt, photos or a mesh to a folder of files
    "text_to_mesh": "pipelines.text_to_mesh",
    "photos_to_mesh": "pipelines.photos_to_mesh",
    "retexture_mesh": "pipelines.retexture",
    "export_run": "pipelines.export",
    "Asset": "pipelines.asset_record",
    # settings and errors
    "Config": "core.config",
    "resolve_config": "core.config",
    "InputError": "core.errors",
    # the diffusion prior and its prompts
    "Prior": "priors.protocol",
    "load_prior": "priors.loading",
    "encode_prompts": "priors.view_prompts",
    # fields and cameras
    "NerfField": "fields.nerf",
    "OrbitCameras": "cameras.orbit",
    "PinholeCameras": "cameras.pinhole",
    "sample_orbit_cameras": "cameras.orbit",
    "read_photos": "cameras.capture",
    # rendering
    "Render": "core.types",
    "OccupancyGrid": "rendering.occupancy_grid",
    "render_field": "rendering.volume",
    "render_mesh": "rendering.mesh_renderer",
    # guidance losses
    "load_guidance": "guidance",
    "sds": "guidance",
    "csd": "guidance",
    "vsd": "guidance",
    "ism": "guidance",
    # optimization loops
    "distill_field": "training.distillation",
    "distill_texture": "training.texture",
    "fit_photos": "training.photometric",
    # meshes
    "extract_surface": "pipelines.surface_extraction",
    "Mesh": "core.types",
    "TexturedMesh": "core.types",
}
__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'dreamfusion3d' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"dreamfusion3d.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
