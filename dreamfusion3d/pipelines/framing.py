"""What is filmed of a run, and where cameras stand round it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.normalize import SceneTransform
from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.cameras.paths import NAMED_PATHS
from dreamfusion3d.cameras.pinhole import PinholeCameras
from dreamfusion3d.core.config import check_choice
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import Progress
from dreamfusion3d.core.types import TexturedMesh, UpAxis
from dreamfusion3d.pipelines.export import FinishedRun, load_textured_mesh
from dreamfusion3d.pipelines.stages import load_arrays
from dreamfusion3d.rendering.turntable import FRAME_FILL


@dataclass(frozen=True)
class RunScene:
    """A run's mesh, and how poses of a file come into its world."""

    mesh: TexturedMesh  # scene units; metres where only the GLB is left
    in_scene_units: bool
    transform: SceneTransform
    up: UpAxis  # of the files that it takes
    has_baked_lighting: bool  # light is a part of the field's colours


def load_run_scene(run: FinishedRun, needs_file_poses: bool, progress: Progress) -> RunScene:
    """Raises InputError where a file's poses cannot be brought into the world of what is left of the run."""
    stage_path = run.workspace.work / "textured.npz"
    mesh = load_arrays(stage_path, TexturedMesh) if stage_path.exists() else None
    in_scene = mesh is not None
    if mesh is None:
        mesh = load_textured_mesh(run, progress)
    reconstruction = json.loads(run.workspace.record_path.read_text(encoding="utf-8")).get("reconstruction")
    if isinstance(reconstruction, dict) and needs_file_poses:
        recorded = _recorded_transform(reconstruction) if in_scene else None
        if recorded is None:
            raise InputError(
                f"{run.workspace.folder} no longer knows where its photos' cameras stood (work/ is gone, or an "
                f"earlier version made it): take one of {', '.join(NAMED_PATHS)}, or reconstruct again with --no-resume"
            )
        return RunScene(mesh, True, *recorded, True)
    low, high = mesh.vertices.min(0).astype(np.float64), mesh.vertices.max(0).astype(np.float64)
    # `export.place` the other way
    scale = max(high[1] - low[1], 1e-9) / run.height if in_scene else 1.0
    offset = ((low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2) if in_scene else (0.0, 0.0, 0.0)
    x, y, z = map(float, offset)
    return RunScene(mesh, in_scene, SceneTransform(float(scale), (x, y, z)), "z", isinstance(reconstruction, dict))


def _recorded_transform(reconstruction: dict[str, Any]) -> tuple[SceneTransform, UpAxis] | None:
    """How the photos' world became the scene, and its axis that points up, where a run has said so."""
    try:
        x, y, z = map(float, reconstruction["offset"])
        return SceneTransform(float(reconstruction["scale"]), (x, y, z)), cast(
            UpAxis, check_choice(reconstruction["up"], ("y", "z"), "reconstruction.up")
        )
    except (KeyError, TypeError, ValueError, InputError):
        return None


def framing_transform(mesh: TexturedMesh, cameras: OrbitCameras) -> SceneTransform:
    """Frame a mesh: the similarity with which it fills the images of all cameras and none cuts it off.

    It is centered between the highest and the lowest point that the cameras see. Of a vertex at (x, y, z) along a
    camera's axes, z towards it from distance d, |x| and |y| are at most
    k (d - z), where k is FILL times the tangent of half the angle. So each allows a size of its own.
    """
    low, high = mesh.vertices.min(0).astype(np.float64), mesh.vertices.max(0).astype(np.float64)
    radius = max(float(np.linalg.norm(high - low)) / 2, 1e-9)
    points = torch.from_numpy((mesh.vertices - (low + high) / 2) / radius).double()
    # two dozen views, and the last, bound the object well enough to frame it for all of them
    indices = torch.tensor(sorted({*range(0, len(cameras), max(1, len(cameras) // 24)), len(cameras) - 1}))
    views = cameras.select(indices)
    rotation, distance = views.camera_to_world[:, :3, :3].double(), views.distance.double()[:, None]
    k = FRAME_FILL * torch.tan(torch.deg2rad(views.fov_deg.double()) / 2)[:, None]

    def to_camera_axes(lift: float) -> Float[Tensor, "b n 3"]:
        return torch.einsum("bji,nj->bni", rotation, points + points.new_tensor([0.0, lift, 0.0]))

    def max_scale(local: Float[Tensor, "b n 3"]) -> float:
        needed = local[..., :2].abs().amax(-1) / k + local[..., 2]
        return float((distance / needed.clamp(min=1e-9)).min())

    lift = 0.0
    for _ in range(30):  # perspective makes the middle a fixed point
        local = to_camera_axes(lift)
        scale = max_scale(local)
        slope = scale * local[..., 1] / (distance - scale * local[..., 2])
        lift -= 0.25 * float(slope.max() + slope.min()) * float(distance.min()) / scale
    x, y, z = map(float, (low + high) / 2)
    return SceneTransform(radius / max_scale(to_camera_axes(lift)), (x, y - lift * radius, z))


def mesh_depth_range(mesh: TexturedMesh, cameras: PinholeCameras) -> tuple[float, float]:
    """The least and the greatest distance of the mesh from any camera, for depth's greys."""
    points = torch.from_numpy(mesh.vertices).double()
    distances = [torch.cdist(part, points) for part in cameras.camera_to_world[:, :3, 3].double().split(16)]
    return min(float(part.min()) for part in distances), max(float(part.max()) for part in distances)
