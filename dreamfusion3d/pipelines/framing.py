"""Scene of a run to render, and camera placement around it."""

from __future__ import annotations

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
from dreamfusion3d.pipelines.run_reader import FinishedRun, load_textured_mesh
from dreamfusion3d.pipelines.stages import load_arrays
from dreamfusion3d.rendering.turntable import FRAME_FILL


@dataclass(frozen=True)
class RunScene:
    """The mesh of a run, and the transform of camera poses in files to its coordinates."""

    mesh: TexturedMesh  # in scene units, or as in the GLB if only that is left
    in_scene_units: bool
    transform: SceneTransform
    up: UpAxis  # of the pose files
    has_baked_lighting: bool  # the field's colors include the light of the photos


def load_run_scene(run: FinishedRun, needs_file_poses: bool, progress: Progress) -> RunScene:
    """Load the mesh of a run.

    Args:
        needs_file_poses: whether cameras come from a file, in the world of the photos or of the exported asset.

    Raises:
        InputError: the run does not know the transform of the photos' world any more.
    """
    stage_path = run.workspace.work / "textured.npz"
    mesh = load_arrays(stage_path, TexturedMesh) if stage_path.exists() else None
    in_scene = mesh is not None
    if mesh is None:
        mesh = load_textured_mesh(run, progress)
    from_photos = run.reconstruction is not None
    if run.reconstruction is not None and needs_file_poses:
        recorded = _recorded_transform(run.reconstruction) if in_scene else None
        if recorded is None:
            raise InputError(
                f"{run.workspace.folder} does not know the world of its photos any more (work/ is missing or "
                f"damaged): use one of {', '.join(NAMED_PATHS)}, or reconstruct it again with --no-resume"
            )
        return RunScene(mesh, True, *recorded, True)
    if run.height_m is None or not in_scene:  # a user's mesh is never scaled
        return RunScene(mesh, in_scene, SceneTransform(1.0, (0.0, 0.0, 0.0)), "z", from_photos)
    low, high = mesh.vertices.min(0).astype(np.float64), mesh.vertices.max(0).astype(np.float64)
    # the inverse of `scale_to_height`
    scale = max(high[1] - low[1], 1e-9) / run.height_m
    offset = ((low[0] + high[0]) / 2, low[1], (low[2] + high[2]) / 2)
    x, y, z = map(float, offset)
    return RunScene(mesh, in_scene, SceneTransform(float(scale), (x, y, z)), "z", from_photos)


def _recorded_transform(reconstruction: dict[str, Any]) -> tuple[SceneTransform, UpAxis] | None:
    """Return the transform from the photos' world to the scene and its up axis, or None if they were not recorded."""
    try:
        x, y, z = map(float, reconstruction["offset"])
        return SceneTransform(float(reconstruction["scale"]), (x, y, z)), cast(
            UpAxis, check_choice(reconstruction["up"], ("y", "z"), "reconstruction.up")
        )
    except (KeyError, TypeError, ValueError, InputError):
        return None


def framing_transform(mesh: TexturedMesh, cameras: OrbitCameras) -> SceneTransform:
    """Return the transform of cameras around the origin that frames the mesh: it fills the images, uncropped.

    A vertex at (x, y, z) on a camera's axes, with z towards the camera at distance d, is inside the frame if
    |x|, |y| <= k (d - z), where k = FRAME_FILL tan(fov / 2). The scale is the largest that all vertices allow in all
    views; the vertical offset centers the mesh between its highest and lowest projection.
    """
    low, high = mesh.vertices.min(0).astype(np.float64), mesh.vertices.max(0).astype(np.float64)
    radius = max(float(np.linalg.norm(high - low)) / 2, 1e-9)
    points = torch.from_numpy((mesh.vertices - (low + high) / 2) / radius).double()
    # two dozen views and the last one bound the mesh well enough for all of them
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
    for _ in range(30):  # with perspective the center is a fixed point
        local = to_camera_axes(lift)
        scale = max_scale(local)
        slope = scale * local[..., 1] / (distance - scale * local[..., 2])
        lift -= 0.25 * float(slope.max() + slope.min()) * float(distance.min()) / scale
    x, y, z = map(float, (low + high) / 2)
    return SceneTransform(radius / max_scale(to_camera_axes(lift)), (x, y - lift * radius, z))


def mesh_depth_range(mesh: TexturedMesh, cameras: PinholeCameras) -> tuple[float, float]:
    """Return the minimum and maximum distance between the vertices and any camera."""
    points = torch.from_numpy(mesh.vertices).double()
    distances = [torch.cdist(part, points) for part in cameras.camera_to_world[:, :3, 3].double().split(16)]
    return min(float(part.min()) for part in distances), max(float(part.max()) for part in distances)
