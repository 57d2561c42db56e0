"""Cameras and ray samples of each step; on CUDA drawn one step ahead, so that the host never waits."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras, sample_orbit_cameras
from dreamfusion3d.core.config import Config
from dreamfusion3d.core.types import Field
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.shading_budget import ShadedFraction
from dreamfusion3d.rendering.volume import PendingSamples, RenderSettings, sample_camera_rays_async
from dreamfusion3d.training.loop import CameraSampler


@dataclass(frozen=True)
class RayBatch:
    """Cameras of a step, and their ray samples if they have been requested already."""

    cameras: OrbitCameras
    pending: PendingSamples | None = None


class Prefetcher:
    """Yield the rays of each step, and keep the occupancy grid up to date.

    With ``run_ahead`` the next step's cameras and rays are drawn before this step's work is queued, from a
    generator of their own, and the fraction of shaded samples is predicted from the step before.

    Args:
        run_ahead: the default is True on CUDA; a CPU gains nothing.
    """

    def __init__(
        self,
        field: Field,
        occupancy: OccupancyGrid,
        sample_cameras: CameraSampler,
        config: Config,
        total: int,
        generator: torch.Generator,
        *,
        run_ahead: bool | None = None,
    ) -> None:
        self.field, self.occupancy, self.sample_cameras = field, occupancy, sample_cameras
        self.config, self.total, self.generator = config, total, generator
        self.run_ahead = generator.device.type == "cuda" if run_ahead is None else run_ahead
        self.settings = RenderSettings(step_size=config.render.step_size)
        self.camera_generator, self.shaded_fraction = generator, None
        if self.run_ahead:
            self.camera_generator = torch.Generator(generator.device).manual_seed(generator.initial_seed() + 1)
            self.shaded_fraction = ShadedFraction()
        self._next: tuple[RayBatch, Tensor] | None = None  # with the generator's state before it was drawn

    def next_batch(self, index: int) -> RayBatch:
        """Return the rays of step ``index`` (0-based)."""
        if not self.run_ahead:
            self._update_occupancy(index)
            return self._sample(index)
        if index == 0:
            self._update_occupancy(index)  # until then all cells count as occupied
        batch = self._sample(index) if self._next is None else self._next[0]
        if index > 0:
            self._update_occupancy(index)
        state = self.camera_generator.get_state()
        self._next = self._sample(index + 1), state
        return batch

    def _update_occupancy(self, index: int) -> None:
        if index % self.config.optim.occupancy_update_interval == 0:
            self.occupancy.update(self.field.density, generator=self.generator, step=index)

    def _sample(self, index: int) -> RayBatch:
        render, generator = self.config.render, self.camera_generator
        cameras = self.sample_cameras(self.config.optim.num_views, generator=generator)
        if index / max(self.total - 1, 1) < render.coarse_fraction:
            cameras = cameras.resized(render.coarse_resolution, render.coarse_resolution)
        if not self.run_ahead:
            return RayBatch(cameras)
        return RayBatch(cameras, sample_camera_rays_async(cameras, self.occupancy, self.settings, generator))

    def copy_shaded_fraction(self) -> ShadedFraction | None:
        """Copy the shaded fraction, for a step that may have to be repeated."""
        return replace(self.shaded_fraction) if self.shaded_fraction else None

    def state_dict(self) -> dict[str, Tensor]:
        """Return what a resumed run needs to draw the same batches; empty without ``run_ahead``."""
        if self.shaded_fraction is None:
            return {}
        fraction = self.shaded_fraction.latest()
        return {
            "generator": self.camera_generator.get_state() if self._next is None else self._next[1],
            "shaded_fraction": torch.tensor(-1.0 if fraction is None else fraction, dtype=torch.float64),
        }

    def load_state_dict(self, state: dict[str, Tensor], *, keep_generator: bool = False) -> None:
        """Restore ``state_dict``; raises KeyError or RuntimeError if it does not fit."""
        if not self.run_ahead:
            return
        fraction = float(state["shaded_fraction"])
        self.shaded_fraction, self._next = ShadedFraction(None if fraction < 0 else fraction), None
        if not keep_generator:
            self.camera_generator.set_state(state["generator"])


def orbit_sampler(config: Config) -> CameraSampler:
    """Return a sampler of random orbit cameras at ``render.resolution``."""

    def sample(count: int, *, generator: torch.Generator) -> OrbitCameras:
        return sample_orbit_cameras(
            count, generator=generator, size=config.render.resolution, antipodal=config.optim.antipodal
        )

    return sample
