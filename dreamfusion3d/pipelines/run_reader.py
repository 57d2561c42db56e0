"""What a run's folder shows of it, as it is now: state, steps, the field's surface, the finished GLB."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dreamfusion3d.core.config import Config, config_from_dict
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.pipelines.live_control import MAX_CONTROL_BYTES, ControlRequest, read_control_request
from dreamfusion3d.pipelines.step_log import read_step_log

if TYPE_CHECKING:
    from dreamfusion3d.core.types import Mesh
    from dreamfusion3d.fields.initialization import FieldInit
    from dreamfusion3d.fields.nerf import NerfField

SURFACE_RESOLUTION = 64  # samples a side of the surface that is shown
HALF_LIGHT_EXTINCTION = float(np.log(2)) * (SURFACE_RESOLUTION - 1) / 2  # extinction that halves light over one voxel


@dataclass(frozen=True)
class RunStatus:
    """A run as its small files tell it."""

    prompt: str  # that the run was begun with
    finished: bool
    steps: list[dict[str, Any]]
    request: ControlRequest
    reply: Mapping[str, Any]

    @property
    def accepts_requests(self) -> bool:
        """Whether a step may still come, so that it is of use to ask for something."""
        return not self.finished and not (self.steps and self.steps[-1]["step"] == self.steps[-1].get("total"))

    @property
    def summary(self) -> str:
        if self.finished:
            return "finished"
        if not self.steps:
            return "no step yet"
        last = self.steps[-1]
        name, seconds = last["stage"], last.get("seconds") or 0
        if not self.accepts_requests:
            return f"{name}: all {last['step']} steps are done; the mesh is being made"
        paused = ", paused" if self.request.paused else ""
        return f"{name}: step {last['step']} of {last.get('total', '?')}, {seconds:.2f} s a step{paused}"


def read_run_status(run: Path) -> RunStatus:
    """Raises InputError where ``run`` is no folder of a run."""
    work = run / "work"
    report, settings, ticket = (
        _read_json_object(path) for path in (run / "asset.json", work / "settings.json", work / "run.json")
    )
    source = report or settings or ticket
    if not source:
        raise InputError(
            f"{run} is no folder of a run: name one that text2mesh is making or has made, as out/a_red_mug"
        )
    return RunStatus(
        str(source.get("prompt", "")),
        bool(report),
        read_step_log(work),
        read_control_request(work),
        _read_json_object(work / "reply.json", MAX_CONTROL_BYTES),
    )


def find_finished_glb(run: Path) -> Path | None:
    """The finished asset as a GLB, where it has one."""
    listed = _read_json_object(run / "asset.json").get("files")
    name = f"{run.resolve().name}.glb"
    path = run / name
    return path if isinstance(listed, dict) and name in listed and path.is_file() else None


def find_latest_field(run: Path) -> Path | None:
    """The file that holds the field as it was last kept."""
    work, trained_path = run / "work", run / "work" / "field.safetensors"
    if trained_path.exists():
        return trained_path
    candidates: list[tuple[int, Path]] = []
    for name in ("checkpoint.safetensors", "live.safetensors"):
        with contextlib.suppress(OSError):
            candidates.append(((work / name).stat().st_mtime_ns, work / name))
    return max(candidates)[1] if candidates else None


def read_run_config(run: Path) -> Config:
    """What the run was told. Raises InputError where work/ no longer says it."""
    try:
        return config_from_dict(_read_json_object(run / "work" / "settings.json")["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{run / 'work' / 'settings.json'} cannot be read ({error})") from None


class RunFieldReader:
    """The fields of one run. What they start from is made once."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.cached_init: tuple[dict[str, Any], FieldInit | None] | None = None

    def read(self, path: Path) -> NerfField:
        """The field of a checkpoint or of a trained field's file.

        Raises InputError where the file, or what the run says of itself, cannot be read.
        """
        import torch
        from safetensors import SafetensorError, safe_open

        from dreamfusion3d.fields.nerf import NerfField

        settings = _read_json_object(self.run / "work" / "settings.json")
        try:
            config = config_from_dict(settings["config"])
            if self.cached_init is None or self.cached_init[0] != settings:
                self.cached_init = settings, self._load_init(settings, config)
            field = NerfField(config.field, generator=torch.Generator().manual_seed(0), init=self.cached_init[1])
            with safe_open(path, framework="pt") as archive:
                names = set(archive.keys())
                prefix = "field." if "index" in names else ""
                state = {n: archive.get_tensor(prefix + n) for n in field.state_dict()}
            field.load_state_dict(state)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{path.name} cannot be shown: {' '.join(str(error).split())[:200]}") from None
        return field

    def _load_init(self, settings: dict[str, Any], config: Config) -> FieldInit | None:
        import torch

        from dreamfusion3d.fields.initialization import FieldInit
        from dreamfusion3d.mesh.voxelize import VoxelizedMesh
        from dreamfusion3d.pipelines.context import predict_field_init
        from dreamfusion3d.pipelines.stages import load_arrays
        from dreamfusion3d.priors.loading import load_prior

        device = torch.device("cpu")
        if settings["init"] == "solid":
            solid = load_arrays(self.run / "work" / "start.npz", VoxelizedMesh)
            if solid is None:
                raise InputError("work/start.npz cannot be read")
            return FieldInit.from_solid(torch.from_numpy(solid.depth), torch.from_numpy(solid.color), device)
        if settings["init"] == "volume":
            prior = load_prior(config.prior, device=device)
            if prior.sha256 != settings["prior"]["sha256"]:
                raise InputError("the prior is not the one that this run has")
            return predict_field_init(prior, str(settings["prompt"]), device)
        return None


def extract_preview_surface(field: NerfField, resolution: int = SURFACE_RESOLUTION) -> tuple[Mesh, np.ndarray]:
    """A coarse surface, where light is halved over one voxel, and its colours (v 3) uint8, by the field."""
    import torch

    from dreamfusion3d.mesh.isosurface import log_ratio, marching_cubes, sample_grid
    from dreamfusion3d.pipelines.surface_extraction import as_numpy_function

    cpu = torch.device("cpu")
    grid = sample_grid(as_numpy_function(field.density, cpu), resolution)
    mesh = marching_cubes(log_ratio(grid, HALF_LIGHT_EXTINCTION * resolution / SURFACE_RESOLUTION), 0.0)
    if not len(mesh.vertices):
        return mesh, np.zeros((0, 3), np.uint8)
    colors = as_numpy_function(field.albedo, cpu)(np.clip(mesh.vertices, -1, 1))
    return mesh, (np.clip(colors, 0, 1) * 255).round().astype(np.uint8)


def training_frustums(count: int = 8) -> list[dict[str, Any]]:
    """Cameras as training draws them, always the same: poses in OpenCV's frame (+Z ahead, +Y down)."""
    import torch

    from dreamfusion3d.cameras.orbit import sample_orbit_cameras

    cameras = sample_orbit_cameras(count, generator=torch.Generator().manual_seed(0))
    poses = cameras.camera_to_world.double().numpy()
    return [
        {
            "rotation": pose[:3, :3] @ np.diag([1.0, -1.0, -1.0]),
            "position": pose[:3, 3],
            "fov": float(np.radians(fov)),
            "aspect": cameras.width / cameras.height,
        }
        for pose, fov in zip(poses, cameras.fov_deg.tolist(), strict=True)
    ]


def _read_json_object(path: Path, limit: int = 1 << 20) -> dict[str, Any]:
    """An object; empty where there is none that can be read."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        if path.stat().st_size <= limit:
            value = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(value, dict):
                return value
    return {}
