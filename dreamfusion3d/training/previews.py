"""Pictures of a recent step, written beside the steps: no step waits for them."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

import imageio.v3 as iio
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core.files import replacing
from dreamfusion3d.core.types import Render

EVERY = 50  # steps
GREY = 0.85  # behind the views


class Previews:
    """Writes what it is shown to ``path`` in a thread of its own, one picture after another; a picture that
    comes while the last one is being written is passed over. Without a path it writes nothing.

    On a GPU it is the thread that waits until the picture is there. An error of the writing is raised by the
    next call, or at the end.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.pool = ThreadPoolExecutor(1, "previews") if path else None
        self.last: Future[None] | None = None

    def show(self, picture: Render) -> None:
        if self.pool is None or self.path is None or (self.last and not self.last.done()):
            return
        if self.last:
            self.last.result()
        with torch.no_grad():
            rgb = picture.over(picture.rgb.new_full((1, 3), GREY)).clamp(0, 1)
        self.last = self.pool.submit(write, rgb, self.path)

    def __enter__(self) -> Previews:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.pool:
            self.pool.shutdown(wait=True)
        if self.last and error is None:  # what went wrong first is what the user should hear of
            self.last.result()


def write(rgb: Float[Tensor, "b h w 3"], path: Path) -> None:
    """The views side by side, twice as large; values in [0, 1]."""
    strip = np.concatenate(list(rgb.cpu().numpy()), axis=1).repeat(2, 0).repeat(2, 1)
    with replacing(path) as temporary:
        iio.imwrite(temporary, (strip * 255).round().astype(np.uint8))
