"""What a run's folder shows of it, as it is now: state, steps, the field's surface, the finished GLB."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dreamfusion3d.core.config import Config, from_dict
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.pipelines.live_control import LARGEST_CONTROL, Wish, read_steps, wish_of

if TYPE_CHECKING:
    from dreamfusion3d.core.types import Mesh
    from dreamfusion3d.fields.initialization import Start
    from dreamfusion3d.fields.nerf import NerfField

RESOLUTION = 64  # samples a side of the surface that is shown
HALF_OPAQUE = float(np.log(2)) * (RESOLUTION - 1) / 2  # extinction that halves light over one voxel


@dataclass(frozen=True)
class State:
    """A run as its small files tell it."""

    prompt: str  # that the run was begun with
    done: bool
    steps: list[dict[str, Any]]
    wish: Wish
    reply: Mapping[str, Any]

    @property
    def steered(self) -> bool:
        """Whether a step may still come, so that it is of use to ask for something."""
        return not self.done and not (self.steps and self.steps[-1]["step"] == self.steps[-1].get("total"))

    @property
    def line(self) -> str:
        if self.done:
            return "finished"
        if not self.steps:
            return "no step yet"
        last = self.steps[-1]
        name, seconds = last["stage"], last.get("seconds") or 0
        if not self.steered:
            return f"{name}: all {last['step']} steps are done; the mesh is being made"
        paused = ", paused" if self.wish.paused else ""
        return f"{name}: step {last['step']} of {last.get('total', '?')}, {seconds:.2f} s a step{paused}"


def state_of(run: Path) -> State:
    """Raises InputError where ``run`` is no folder of a run."""
    work = run / "work"
    report, settings, ticket = (
        _small_json(path) for path in (run / "asset.json", work / "settings.json", work / "run.json")
    )
    found = report or settings or ticket
    if not found:
        raise InputError(
            f"{run} is no folder of a run: name one that text2mesh is making or has made, as out/a_red_mug"
        )
    return State(
        str(found.get("prompt", "")), bool(report), read_steps(work), wish_of(work),
        _small_json(work / "reply.json", LARGEST_CONTROL),
    )


def glb_of(run: Path) -> Path | None:
    """The finished asset as a GLB, where it has one."""
    listed = _small_json(run / "asset.json").get("files")
    name = f"{run.resolve().name}.glb"
    path = run / name
    return path if isinstance(listed, dict) and name in listed and path.is_file() else None


def latest_field(run: Path) -> Path | None:
    """The file that holds the field as it was last kept."""
    work, trained = run / "work", run / "work" / "field.safetensors"
    if trained.exists():
        return trained
    found: list[tuple[int, Path]] = []
    for name in ("checkpoint.safetensors", "live.safetensors"):
        with contextlib.suppress(OSError):
            found.append(((work / name).stat().st_mtime_ns, work / name))
    return max(found)[1] if found else None


def config_of(run: Path) -> Config:
    """What the run was told. Raises InputError where work/ no longer says it."""
    try:
        return from_dict(_small_json(run / "work" / "settings.json")["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{run / 'work' / 'settings.json'} cannot be read ({error})") from None


class Fields:
    """The fields of one run. What they start from is made once."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.begun: tuple[dict[str, Any], Start | None] | None = None

    def read(self, path: Path) -> NerfField:
        """The field of a checkpoint or of a trained field's file.

        Raises InputError where the file, or what the run says of itself, cannot be read.
        """
        import torch
        from safetensors import SafetensorError, safe_open

        from dreamfusion3d.fields.nerf import NerfField

        settings = _small_json(self.run / "work" / "settings.json")
        try:
            config = from_dict(settings["config"])
            if self.begun is None or self.begun[0] != settings:
                self.begun = settings, self._start(settings, config)
            field = NerfField(config.field, generator=torch.Generator().manual_seed(0), start=self.begun[1])
            with safe_open(path, framework="pt") as archive:
                names = set(archive.keys())
                prefix = "field." if "index" in names else ""
                state = {n: archive.get_tensor(prefix + n) for n in field.state_dict()}
            field.load_state_dict(state)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise InputError(f"{path.name} cannot be shown: {' '.join(str(error).split())[:200]}") from None
        return field

    def _start(self, settings: dict[str, Any], config: Config) -> Start | None:
        import torch

        from dreamfusion3d.fields.initialization import Start
        from dreamfusion3d.mesh.voxelize import Solid
        from dreamfusion3d.pipelines.context import fog_of
        from dreamfusion3d.pipelines.stages import load_arrays
        from dreamfusion3d.priors.loading import load_prior

        device = torch.device("cpu")
        if settings["start"] == "solid":
            solid = load_arrays(self.run / "work" / "start.npz", Solid)
            if solid is None:
                raise InputError("work/start.npz cannot be read")
            return Start.of_solid(torch.from_numpy(solid.depth), torch.from_numpy(solid.colour), device)
        if settings["start"] == "fog":
            prior = load_prior(config.prior, device=device)
            if prior.sha256 != settings["prior"]["sha256"]:
                raise InputError("the prior is not the one that this run has")
            return fog_of(prior, str(settings["prompt"]), device)
        return None


def surface(field: NerfField, resolution: int = RESOLUTION) -> tuple[Mesh, np.ndarray]:
    """A coarse surface, where light is halved over one voxel, and its colours (v 3) uint8, by the field."""
    import torch

    from dreamfusion3d.mesh.isosurface import log_ratio, marching_cubes, sample_grid
    from dreamfusion3d.pipelines.surface_extraction import numpy_of

    cpu = torch.device("cpu")
    grid = sample_grid(numpy_of(field.density, cpu), resolution)
    mesh = marching_cubes(log_ratio(grid, HALF_OPAQUE * resolution / RESOLUTION), 0.0)
    if not len(mesh.vertices):
        return mesh, np.zeros((0, 3), np.uint8)
    colours = numpy_of(field.albedo, cpu)(np.clip(mesh.vertices, -1, 1))
    return mesh, (np.clip(colours, 0, 1) * 255).round().astype(np.uint8)


def frustums(count: int = 8) -> list[dict[str, Any]]:
    """Cameras as training draws them, always the same: poses in OpenCV's frame (+Z ahead, +Y down)."""
    import torch

    from dreamfusion3d.cameras.orbit import sample_orbit

    cameras = sample_orbit(count, generator=torch.Generator().manual_seed(0))
    poses = cameras.camera_to_world.double().numpy()
    return [
        {"rotation": pose[:3, :3] @ np.diag([1.0, -1.0, -1.0]), "position": pose[:3, 3],
         "fov": float(np.radians(fov)), "aspect": cameras.width / cameras.height}
        for pose, fov in zip(poses, cameras.fov_deg.tolist(), strict=True)
    ]


def _small_json(path: Path, limit: int = 1 << 20) -> dict[str, Any]:
    """An object; empty where there is none that can be read."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        if path.stat().st_size <= limit:
            value = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(value, dict):
                return value
    return {}
