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
from dreamfusion3d.mesh.checks import MeshReport
from dreamfusion3d.mesh.quality import MeshQuality
from dreamfusion3d.pipelines.workspace import RunIdentity, Workspace

MIN_SILHOUETTE_IOU = 0.9  # below it the mesh is not what the field shows
MAX_CHAMFER = 0.005  # of the diagonal, from the unsimplified surface: half a voxel at resolution 128
MAX_UV_OVERLAP_FRACTION = 1e-3  # of the covered texels
MIN_TEXEL_EVENNESS = 0.95  # of the surface within a factor 2 of the median density
RECORDED_PACKAGES = ("dreamfusion3d", "torch", "numpy", "trimesh", "nerfacc", "diffusers")


@dataclass(frozen=True)
class MeshOutputs:
    """What the mesh stages leave for the record."""

    paths: Sequence[Path]
    quality: MeshQuality  # in metres, before the UV split; of a user's mesh in its own unit
    silhouette_iou: float | None = None  # of the level of the surface; None: the mesh is not of a field
    mesh_report: MeshReport | None = None  # likewise
    corners_kept: bool | None = None  # whether a user's mesh came out as it went in; None: there is none


def build_asset_record(
    identity: RunIdentity,
    prior_name: str,
    workspace: Workspace,
    device: str,
    seconds: Mapping[str, float],
    outputs: MeshOutputs,
) -> dict[str, Any]:
    """The content of asset.json."""
    mesh_report = outputs.mesh_report.as_dict() if outputs.mesh_report else {}
    return {
        "prompt": identity.prompt,
        "seed": identity.seed,
        "slug": workspace.slug,
        "config": configs.config_to_dict(identity.config),
        "prior": {"name": prior_name, "sha256": identity.prior_sha256},
        **({"source": dataclasses.asdict(identity.source)} if identity.source else {}),
        **({"edits": [dataclasses.asdict(edit) for edit in identity.edits]} if identity.edits else {}),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in RECORDED_PACKAGES}},
        "device": device,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "files": {
            path.name: {"sha256": files.file_sha256(path), "bytes": path.stat().st_size} for path in outputs.paths
        },
        # as it will be read back: lists, no tuples
        "mesh": json.loads(json.dumps({**outputs.quality.as_dict(), **mesh_report})),
        "checks": _checks(outputs, identity.config),
    }


def _checks(outputs: MeshOutputs, config: configs.Config) -> dict[str, dict[str, Any]]:
    """What a pipeline would refuse, each with its figure."""
    mesh, check = outputs.quality, _check_entry
    if outputs.corners_kept is not None:
        # the shape is the user's own affair
        return {"corners_kept": check(outputs.corners_kept, outputs.corners_kept)}
    iou = outputs.silhouette_iou or 0.0
    return {
        "watertight": check(mesh.watertight, mesh.watertight),
        "one_component": check(mesh.components == 1, mesh.components),
        "positive_volume": check(mesh.volume > 0, mesh.volume),
        "no_degenerate_faces": check(mesh.degenerate_faces == 0, mesh.degenerate_faces),
        "faces_within_budget": check(mesh.faces <= config.mesh.max_faces, mesh.faces),
        "silhouettes_match": check(iou >= MIN_SILHOUETTE_IOU, round(iou, 4)),
        **(_mesh_report_checks(outputs.mesh_report) if outputs.mesh_report else {}),
    }


def _mesh_report_checks(report: MeshReport) -> dict[str, dict[str, Any]]:
    return {
        "mesh_silhouettes_match": _check_entry(
            report.silhouette_iou >= MIN_SILHOUETTE_IOU, round(report.silhouette_iou, 4)
        ),
        "no_self_intersections": _check_entry(report.self_intersections == 0, report.self_intersections),
        "close_to_the_surface": _check_entry(report.chamfer <= MAX_CHAMFER, round(report.chamfer, 6)),
        "no_uv_overlap": _check_entry(report.uv_overlap <= MAX_UV_OVERLAP_FRACTION, round(report.uv_overlap, 6)),
        "even_texels": _check_entry(report.texel_evenness >= MIN_TEXEL_EVENNESS, round(report.texel_evenness, 4)),
    }


def _check_entry(passed: bool, figure: Any) -> dict[str, Any]:
    return {"passed": bool(passed), "figure": figure}


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z
