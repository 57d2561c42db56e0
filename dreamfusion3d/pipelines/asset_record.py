"""What asset.json says of a finished asset, and what it passes for."""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from dreamfusion3d.core import config as configs
from dreamfusion3d.core import files
from dreamfusion3d.mesh.checks import FinishReport
from dreamfusion3d.mesh.quality import MeshQuality
from dreamfusion3d.pipelines.workspace import Identity, Workspace

SILHOUETTE_IOU = 0.9  # below it the mesh is not what the field shows
CHAMFER = 0.005  # of the diagonal, from the unsimplified surface: half a voxel at resolution 128
UV_OVERLAP = 1e-3  # of the covered texels
TEXEL_EVENNESS = 0.95  # of the surface within a factor 2 of the median density
VERSIONS = ("dreamfusion3d", "torch", "numpy", "trimesh", "nerfacc", "diffusers")


@dataclass(frozen=True)
class Made:
    """What the mesh stages leave for the record."""

    written: Sequence[Path]
    quality: MeshQuality  # in metres, before the UV split; of a user's mesh in its own unit
    silhouette_iou: float | None = None  # of the level of the surface; None: the mesh is not of a field
    finish: FinishReport | None = None  # likewise
    corners_kept: bool | None = None  # whether a user's mesh came out as it went in; None: there is none


def asset_record(
    identity: Identity, prior_name: str, space: Workspace, device: str, seconds: Mapping[str, float],
    made: Made,
) -> dict[str, Any]:
    """The content of asset.json."""
    finish = made.finish.as_dict() if made.finish else {}
    return {
        "prompt": identity.prompt,
        "seed": identity.seed,
        "slug": space.slug,
        "config": configs.as_dict(identity.config),
        "prior": {"name": prior_name, "sha256": identity.prior_sha256},
        **({"source": dataclasses.asdict(identity.source)} if identity.source else {}),
        **({"edits": [dataclasses.asdict(edit) for edit in identity.edits]} if identity.edits else {}),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
        "device": device,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "files": {
            path.name: {"sha256": files.sha256(path), "bytes": path.stat().st_size} for path in made.written
        },
        # as it will be read back: lists, no tuples
        "mesh": json.loads(json.dumps({**made.quality.as_dict(), **finish})),
        "checks": _checks(made, identity.config),
    }


def _checks(made: Made, config: configs.Config) -> dict[str, dict[str, Any]]:
    """What a pipeline would refuse, each with its figure."""
    mesh, check = made.quality, _check
    if made.corners_kept is not None:
        # the shape is the user's own affair
        return {"corners_kept": check(made.corners_kept, made.corners_kept)}
    iou = made.silhouette_iou or 0.0
    return {
        "watertight": check(mesh.watertight, mesh.watertight),
        "one_component": check(mesh.components == 1, mesh.components),
        "positive_volume": check(mesh.volume > 0, mesh.volume),
        "no_degenerate_faces": check(mesh.degenerate_faces == 0, mesh.degenerate_faces),
        "faces_within_budget": check(mesh.faces <= config.mesh.faces, mesh.faces),
        "silhouettes_match": check(iou >= SILHOUETTE_IOU, round(iou, 4)),
        **(_finish_checks(made.finish) if made.finish else {}),
    }


def _finish_checks(finish: FinishReport) -> dict[str, dict[str, Any]]:
    return {
        "mesh_silhouettes_match": _check(
            finish.silhouette_iou >= SILHOUETTE_IOU, round(finish.silhouette_iou, 4)
        ),
        "no_self_intersections": _check(finish.self_intersections == 0, finish.self_intersections),
        "close_to_the_surface": _check(finish.chamfer <= CHAMFER, round(finish.chamfer, 6)),
        "no_uv_overlap": _check(finish.uv_overlap <= UV_OVERLAP, round(finish.uv_overlap, 6)),
        "even_texels": _check(finish.texel_evenness >= TEXEL_EVENNESS, round(finish.texel_evenness, 4)),
    }


def _check(passed: bool, figure: Any) -> dict[str, Any]:
    return {"passed": bool(passed), "figure": figure}


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
