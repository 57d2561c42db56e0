"""Configuration of one optimization step that trades time for memory."""

from __future__ import annotations

from dataclasses import dataclass

from dreamfusion3d.memory.checkpoint_plan import RecomputeSchedule, count_recomputed


@dataclass(frozen=True)
class StepPlan:
    """How one step is computed. All plans have the same gradient up to the order of its sums.

    The default keeps every activation and sends all images to the prior at once.
    """

    tiles: int = 1  # groups of rays; each is rendered again before its backward pass
    encoder_batch_size: int | None = None  # images encoded together, and again after the guidance; None: all, once
    encoder_schedule: RecomputeSchedule | None = None  # blocks of the encoder to recompute; None: keep all
    query_batch_size: int | None = None  # images per call of the prior; None: the images of all prompts
    cpu_offload: bool = False  # keep the prior's network in main memory and move its layers in turn

    def describe(self, num_views: int, num_blocks: int = 0) -> str:
        """Describe the plan for logs, e.g. "images in 4 tiles"; ``num_blocks`` of the encoder is 0 if unknown."""
        parts = []
        if self.tiles > 1:
            parts.append(f"images in {self.tiles} tiles")
        if self.encoder_batch_size is not None:
            batch = min(self.encoder_batch_size, num_views)
            parts.append(f"{batch} of {num_views} views encoded at a time, and again after the guidance")
        if self.encoder_schedule is not None:
            total = f" of {num_blocks}" if num_blocks else ""
            parts.append(f"{count_recomputed(self.encoder_schedule)}{total} encoder blocks recomputed")
        if self.query_batch_size is not None:
            parts.append(f"{self.query_batch_size} images per call of the prior")
        if self.cpu_offload:
            parts.append("its network in main memory")
        return ", ".join(parts) or "everything at once"
