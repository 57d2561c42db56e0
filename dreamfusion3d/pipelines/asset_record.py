"""The record of a finished asset, asset.json, and the checks that it passed.

`RunContext.finish` (`context.py`) fills it in and writes it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dreamfusion3d.core import config as configs, files
from dreamfusion3d.core.slug import hash_text

if TYPE_CHECKING:
    from dreamfusion3d.core.types import ObjectHeight
    from dreamfusion3d.mesh.checks import MeshReport
    from dreamfusion3d.mesh.quality import MeshQuality
    from dreamfusion3d.pipelines.workspace import RunIdentity

MIN_SILHOUETTE_IOU = 0.9  # between the mesh and the field
MAX_CHAMFER = 0.005  # of the diagonal, from the unsimplified surface: half a voxel at resolution 128
MAX_UV_OVERLAP_FRACTION = 1e-3  # of the covered texels
MIN_TEXEL_EVENNESS = 0.95  # fraction of the surface within a factor 2 of the median texel density
RECORDED_PACKAGES = ("dreamfusion3d", "torch", "numpy", "trimesh", "nerfacc", "diffusers")
UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


@dataclass(frozen=True)
class MeshOutputs:
    """Files and measurements of the mesh stages."""

    paths: Sequence[Path]
    quality: MeshQuality  # in meters, before the UV split; of a user's mesh in its own unit
    silhouette_iou: float | None = None  # at the chosen isosurface level; None: the mesh is not extracted from a field
    mesh_report: MeshReport | None = None  # likewise
    height: ObjectHeight | None = None  # of the exported asset; None: a user's mesh keeps its size
    corners_kept: bool | None = None  # whether a user's mesh kept its face corners; None: there is no user's mesh


@dataclass(frozen=True, kw_only=True)
class AssetRecord:
    """Content of asset.json, in this order. Fields that are None are left out of the file.

    Fields with defaults may be missing in records of earlier versions.
    """

    prompt: str
    seed: int
    slug: str = ""
    config: dict[str, Any]
    prior: dict[str, str]  # name, sha256
    versions: dict[str, str] = field(default_factory=dict)
    device: str = ""
    seconds: dict[str, float] = field(default_factory=dict)  # by stage, over all processes
    files: dict[str, dict[str, Any]]  # by name: sha256, bytes
    mesh: dict[str, Any] = field(default_factory=dict)  # MeshQuality and MeshReport
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)  # by name: passed, figure
    height: dict[str, Any] | None = None  # meters and source; None if a user's mesh keeps its size
    source: dict[str, str] | None = None  # the mesh or photos of the user
    edits: list[dict[str, Any]] | None = None  # prompts that were changed during the run
    name: str | None = None  # inside the files, if it is not the prompt's slug
    memory: dict[str, Any] | None = None  # step plans, by stage
    reconstruction: dict[str, Any] | None = None  # scene transform and metrics of photos
    instance: dict[str, Any] | None = None  # what the seed drew, if the prior can say it

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AssetRecord:
        """Read the content of an asset.json; raises TypeError or KeyError if fields are missing."""
        names = {entry.name for entry in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in values.items() if name in names})

    @classmethod
    def read(cls, path: Path) -> AssetRecord | None:
        """Read an asset.json; None if it does not exist or is damaged."""
        with contextlib.suppress(*UNREADABLE):
            return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
        return None

    def write(self, path: Path) -> None:
        """Write the record atomically."""
        files.write_json(path, self.to_dict())

    def to_dict(self) -> dict[str, Any]:
        """Return the content of asset.json."""
        values = ((entry.name, getattr(self, entry.name)) for entry in dataclasses.fields(self))
        return {name: value for name, value in values if value is not None}

    @property
    def failed_checks(self) -> list[str]:
        """Names of the checks that failed."""
        return [name for name, check in self.checks.items() if not check["passed"]]

    @property
    def digest(self) -> str:
        """Digest of what decided the bytes, equal to `RunIdentity.digest`."""
        key: list[Any] = [self.source["use"], self.source["sha256"]] if self.source else []
        key += [[edit["stage"], edit["step"], edit["prompt"]] for edit in self.edits or []]
        return identity_digest(self.prompt, self.seed, self.config, self.prior["sha256"], key)

    def matches_files(self, folder: Path) -> bool:
        """Return whether all files are as they were written."""
        with contextlib.suppress(*UNREADABLE):
            return all(files.file_sha256(folder / name) == entry["sha256"] for name, entry in self.files.items())
        return False


@dataclass(frozen=True)
class Asset:
    """A finished asset.

    Args:
        folder: OUT/<slug>, with the files of the asset.
        record: the content of its asset.json.

    Example:
        >>> asset = text_to_mesh("a red mug", config=resolve_config("draft"))
        >>> asset.main_file.exists(), asset.record.prompt
        (True, 'a red mug')
    """

    folder: Path
    record: AssetRecord

    @property
    def main_file(self) -> Path:
        """The GLB, or the first requested format without one."""
        formats = self.record.config["mesh"]["formats"]
        return self.folder / f"{self.folder.name}.{'glb' if 'glb' in formats else formats[0]}"

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        return not self.record.failed_checks


def identity_digest(prompt: str, seed: int, config: dict[str, Any], prior_sha256: str, extra: list[Any]) -> str:
    """Hash what decides the bytes of an asset."""
    return hash_text(json.dumps([prompt, seed, config, prior_sha256, *extra], sort_keys=True), length=64)


def build_asset_record(
    identity: RunIdentity,
    prior_name: str,
    slug: str,
    device: str,
    seconds: Mapping[str, float],
    outputs: MeshOutputs,
    **optional: Any,
) -> AssetRecord:
    """Build the record of a run; ``optional`` sets ``name``, ``memory``, ``reconstruction`` and ``instance``."""
    mesh_report = dataclasses.asdict(outputs.mesh_report) if outputs.mesh_report else {}
    return AssetRecord(
        prompt=identity.prompt,
        seed=identity.seed,
        slug=slug,
        config=configs.config_to_dict(identity.config),
        prior={"name": prior_name, "sha256": identity.prior_sha256},
        versions={"python": platform.python_version(), **{name: version(name) for name in RECORDED_PACKAGES}},
        device=device,
        seconds={name: round(value, 3) for name, value in seconds.items()},
        files={path.name: {"sha256": files.file_sha256(path), "bytes": path.stat().st_size} for path in outputs.paths},
        # as it will be read back: lists, no tuples
        mesh=json.loads(json.dumps({**dataclasses.asdict(outputs.quality), **mesh_report})),
        checks=_checks(outputs, identity.config),
        height=dataclasses.asdict(outputs.height) if outputs.height else None,
        source=dataclasses.asdict(identity.source) if identity.source else None,
        edits=[dataclasses.asdict(edit) for edit in identity.edits] or None,
        **optional,
    )


def _checks(outputs: MeshOutputs, config: configs.Config) -> dict[str, dict[str, Any]]:
    """What a production pipeline would reject, each with its figure."""
    mesh, report, check = outputs.quality, outputs.mesh_report, _check_entry
    if outputs.corners_kept is not None:  # the shape of a user's mesh is not ours to judge
        return {"corners_kept": check(outputs.corners_kept, outputs.corners_kept)}
    iou = outputs.silhouette_iou or 0.0
    checks = {
        "watertight": check(mesh.watertight, mesh.watertight),
        "one_component": check(mesh.components == 1, mesh.components),
        "positive_volume": check(mesh.volume > 0, mesh.volume),
        "no_degenerate_faces": check(mesh.degenerate_faces == 0, mesh.degenerate_faces),
        "faces_within_budget": check(mesh.faces <= config.mesh.max_faces, mesh.faces),
        "silhouettes_match": check(iou >= MIN_SILHOUETTE_IOU, round(iou, 4)),
    }
    if report:
        mesh_iou = report.silhouette_iou
        checks |= {
            "mesh_silhouettes_match": check(mesh_iou >= MIN_SILHOUETTE_IOU, round(mesh_iou, 4)),
            "no_self_intersections": check(report.self_intersections == 0, report.self_intersections),
            "close_to_the_surface": check(report.chamfer <= MAX_CHAMFER, round(report.chamfer, 6)),
            "no_uv_overlap": check(report.uv_overlap <= MAX_UV_OVERLAP_FRACTION, round(report.uv_overlap, 6)),
            "even_texels": check(report.texel_evenness >= MIN_TEXEL_EVENNESS, round(report.texel_evenness, 4)),
        }
    return checks


def _check_entry(passed: bool, figure: Any) -> dict[str, Any]:
    return {"passed": bool(passed), "figure": figure}
