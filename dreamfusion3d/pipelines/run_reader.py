"""Read the folder of a run: a finished asset, or the state, steps and field of a run in progress."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dreamfusion3d.core import files
from dreamfusion3d.core.config import Config, config_from_dict
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import Progress
from dreamfusion3d.core.slug import slugify
from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.pipelines.asset_record import AssetRecord
from dreamfusion3d.pipelines.live_control import MAX_CONTROL_BYTES, ControlRequest, read_control_request
from dreamfusion3d.pipelines.stages import load_arrays
from dreamfusion3d.pipelines.step_log import read_step_log
from dreamfusion3d.pipelines.workspace import Workspace

if TYPE_CHECKING:
    from dreamfusion3d.core.types import Mesh
    from dreamfusion3d.fields.initialization import FieldInit
    from dreamfusion3d.fields.nerf import NerfField

PREVIEW_RESOLUTION = 64  # samples per axis of the preview's grid
HALF_LIGHT_EXTINCTION = float(np.log(2)) * (PREVIEW_RESOLUTION - 1) / 2  # extinction that halves light over one voxel


@dataclass(frozen=True)
class FinishedRun:
    """What asset.json says of a finished run, checked as far as exports and videos need it."""

    workspace: Workspace
    prompt: str
    seed: int
    asset_name: str  # inside the files: a slug
    prior_name: str
    prior_sha256: str
    height_m: float | None  # None: the size of a user's mesh
    formats: tuple[str, ...]
    glb: Path  # may not exist
    glb_sha256: str | None  # as the run wrote it; None if it wrote no GLB
    reconstruction: dict[str, Any] | None = None  # see `AssetRecord`


def read_run(folder: Path) -> FinishedRun:
    """Read and check the asset.json of a run's folder.

    Raises:
        InputError: ``folder`` is not the folder of a finished run.
    """
    workspace = Workspace(folder.resolve())
    if not folder.is_dir():
        problem = "is a file; name the folder that contains it" if folder.is_file() else "does not exist"
        raise InputError(f"{folder} {problem}: the folder of a run is OUT/<slug>, with its asset.json")
    if not workspace.record_path.exists():
        raise InputError(f"{folder} {_explain_unfinished(workspace)}")
    try:
        record = AssetRecord.from_dict(json.loads(workspace.record_path.read_text(encoding="utf-8")))
        mesh = record.config["mesh"]
        height = record.height["meters"] if record.height else mesh["height_m"]
        return FinishedRun(
            workspace,
            record.prompt,
            record.seed,
            slugify(record.name or record.prompt),
            record.prior["name"],
            record.prior["sha256"],
            None if height is None else float(height),
            tuple(mesh["formats"]),
            workspace.folder / f"{slugify(record.slug)}.glb",  # by the record: the folder may have been renamed
            record.files.get(f"{record.slug}.glb", {}).get("sha256"),
            record.reconstruction,
        )
    except PermissionError:
        raise InputError(f"cannot read {workspace.record_path}: permission denied") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(
            f"{workspace.record_path} is not the record of a run ({type(error).__name__}: {error}); "
            "make the asset again"
        ) from None


def _explain_unfinished(workspace: Workspace) -> str:
    """Say why a folder without asset.json is not a finished run, and what to do."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        prompt = json.loads(workspace.run_info_path.read_text(encoding="utf-8"))["prompt"]
        command = f"text2mesh {json.dumps(prompt, ensure_ascii=False)} --out {workspace.folder.parent}"
        return f"is not finished (no asset.json): repeat the command that started it, e.g. {command}"
    runs = sorted(path.parent.name for path in workspace.folder.glob("*/asset.json"))
    if runs:
        return f"contains {len(runs)} runs but is not a run itself: name one of them, e.g. {workspace.folder / runs[0]}"
    return "is not the folder of a run (no asset.json): name OUT/<slug>, as written by text2mesh"


def load_textured_mesh(run: FinishedRun, progress: Progress) -> TexturedMesh:
    """Load the mesh of the texture stage (scene units), or of the GLB (meters) if work/ does not have it.

    Raises:
        InputError: there is neither, or the GLB is damaged.
    """
    from dreamfusion3d.mesh.io.gltf import read_glb

    stage_path, glb = run.workspace.work / "textured.npz", run.glb
    if stage_path.exists():
        mesh = load_arrays(stage_path, TexturedMesh)
        if mesh is not None:
            return mesh
        progress.warn(f"{stage_path} is damaged; reading the GLB")
    if not glb.exists():
        raise InputError(
            f"{run.workspace.folder} has neither work/textured.npz nor a GLB with the mesh; "
            "make the asset again with glb among its formats"
        )
    try:
        if run.glb_sha256 != files.file_sha256(glb):
            progress.warn(f"{glb.name} was changed after the run wrote it; exporting its current content")
        return read_glb(glb)
    except PermissionError:
        raise InputError(f"cannot read {glb}: permission denied") from None
    except (OSError, ValueError, KeyError, AttributeError, TypeError, IndexError) as error:
        raise InputError(f"{glb} cannot be read ({error}); generate the asset again with --no-resume") from None


@dataclass(frozen=True)
class RunStatus:
    """State of a run, finished or not."""

    prompt: str  # the first one, before any edits
    finished: bool
    steps: list[dict[str, Any]]
    request: ControlRequest
    reply: Mapping[str, Any]

    @property
    def accepts_requests(self) -> bool:
        """Whether steps remain that a request can change."""
        return not self.finished and not (self.steps and self.steps[-1]["step"] == self.steps[-1].get("total"))

    @property
    def summary(self) -> str:
        """One line, e.g. "optimize: step 20 of 100, 0.31 s per step"."""
        if self.finished:
            return "finished"
        if not self.steps:
            return "no step yet"
        last = self.steps[-1]
        name, seconds = last["stage"], last.get("seconds") or 0
        if not self.accepts_requests:
            return f"{name}: all {last['step']} steps done, making the mesh"
        paused = ", paused" if self.request.paused else ""
        return f"{name}: step {last['step']} of {last.get('total', '?')}, {seconds:.2f} s per step{paused}"


def read_run_status(run: Path) -> RunStatus:
    """Read the state of a run; raises InputError if ``run`` is not the folder of one."""
    work = run / "work"
    record, settings, run_info = (
        _read_json_object(path) for path in (run / "asset.json", work / "settings.json", work / "run.json")
    )
    source = record or settings or run_info
    if not source:
        raise InputError(
            f"{run} is not the folder of a run: name one that text2mesh has written or is writing, e.g. out/a_red_mug"
        )
    return RunStatus(
        str(source.get("prompt", "")),
        bool(record),
        read_step_log(work),
        read_control_request(work),
        _read_json_object(work / "reply.json", MAX_CONTROL_BYTES),
    )


def find_finished_glb(run: Path) -> Path | None:
    """Return the GLB of the finished asset, or None."""
    listed = _read_json_object(run / "asset.json").get("files")
    name = f"{run.resolve().name}.glb"
    path = run / name
    return path if isinstance(listed, dict) and name in listed and path.is_file() else None


def find_latest_field(run: Path) -> Path | None:
    """Return the most recently written file with the field's tensors, or None."""
    work, trained_path = run / "work", run / "work" / "field.safetensors"
    if trained_path.exists():
        return trained_path
    candidates: list[tuple[int, Path]] = []
    for name in ("checkpoint.safetensors", "live.safetensors"):
        with contextlib.suppress(OSError):
            candidates.append(((work / name).stat().st_mtime_ns, work / name))
    return max(candidates)[1] if candidates else None


def read_run_config(run: Path) -> Config:
    """Read the settings of a run from work/settings.json; raises InputError if it is absent or damaged."""
    try:
        return config_from_dict(_read_json_object(run / "work" / "settings.json")["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{run / 'work' / 'settings.json'} cannot be read ({error})") from None


class RunFieldReader:
    """Reads the fields of one run; their initialization is computed once."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.cached_init: tuple[dict[str, Any], FieldInit | None] | None = None

    def read(self, path: Path) -> NerfField:
        """Load the field of a checkpoint, live.safetensors or field.safetensors.

        Raises:
            InputError: the file or the run's settings cannot be read.
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
            raise InputError(f"{path.name} cannot be read: {' '.join(str(error).split())[:200]}") from None
        return field

    def _load_init(self, settings: dict[str, Any], config: Config) -> FieldInit | None:
        """Rebuild what the run's field started from; None for a blob."""
        import torch

        from dreamfusion3d.fields.initialization import FieldInit
        from dreamfusion3d.mesh.voxelize import VoxelizedMesh
        from dreamfusion3d.pipelines.context import predict_field_init
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
                raise InputError("the prior is not the one of this run: its weights differ")
            return predict_field_init(prior, str(settings["prompt"]), device)
        return None


def extract_preview_surface(field: NerfField, resolution: int = PREVIEW_RESOLUTION) -> tuple[Mesh, np.ndarray]:
    """Extract a coarse surface at the extinction that halves light over one voxel.

    Returns:
        The mesh in scene units, and its vertex colors (v 3) uint8.
    """
    import torch

    from dreamfusion3d.mesh.isosurface import log_ratio, marching_cubes, sample_grid
    from dreamfusion3d.pipelines.surface_extraction import as_numpy_function

    cpu = torch.device("cpu")
    grid = sample_grid(as_numpy_function(field.density, cpu), resolution)
    mesh = marching_cubes(log_ratio(grid, HALF_LIGHT_EXTINCTION * resolution / PREVIEW_RESOLUTION), 0.0)
    if not len(mesh.vertices):
        return mesh, np.zeros((0, 3), np.uint8)
    colors = as_numpy_function(field.albedo, cpu)(np.clip(mesh.vertices, -1, 1))
    return mesh, (np.clip(colors, 0, 1) * 255).round().astype(np.uint8)


def training_frustums(count: int = 8) -> list[dict[str, Any]]:
    """Sample ``count`` training cameras with a fixed seed, as poses in OpenCV's frame (+Z forward, +Y down)."""
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
    """Return a JSON object; empty if the file is absent, damaged or larger than ``limit`` bytes."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        if path.stat().st_size <= limit:
            value = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(value, dict):
                return value
    return {}
