"""Previews of recent steps, written in the background."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import imageio.v3 as iio
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core.files import atomic_write
from dreamfusion3d.core.types import Render

PREVIEW_INTERVAL = 50  # steps
PREVIEW_BACKGROUND_GRAY = 0.85  # behind the views


class PreviewWriter:
    """Write renders to ``path`` in a thread, one at a time; a render that comes too early is skipped.

    On CUDA the thread waits for the render, not the steps. An error of the writer is raised by the next call, or at
    the end. Without a path nothing is written.

    Args:
        path: PNG to write.
        write: replaces `write_preview`.
    """

    def __init__(self, path: Path | None, write: Callable[[Tensor, Path], None] | None = None) -> None:
        self.path, self.write = path, write or write_preview
        self.pool = ThreadPoolExecutor(1, "previews") if path else None
        self.pending: Future[None] | None = None

    def submit(self, render: Render) -> None:
        if self.pool is None or self.path is None or (self.pending and not self.pending.done()):
            return
        if self.pending:
            self.pending.result()
        with torch.no_grad():
            rgb = render.over(render.rgb.new_full((1, 3), PREVIEW_BACKGROUND_GRAY)).clamp(0, 1)
        self.pending = self.pool.submit(self.write, rgb, self.path)

    def __enter__(self) -> PreviewWriter:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.pool:
            self.pool.shutdown(wait=True)
        if self.pending and exc is None:  # the first error is the one to report
            self.pending.result()


def write_preview(rgb: Float[Tensor, "b h w 3"], path: Path) -> None:
    """Write the views side by side, enlarged twice; values in [0, 1]."""
    row = np.concatenate(list(rgb.cpu().numpy()), axis=1).repeat(2, 0).repeat(2, 1)
    with atomic_write(path) as temporary:
        iio.imwrite(temporary, (row * 255).round().astype(np.uint8))
