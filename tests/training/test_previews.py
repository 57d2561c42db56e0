"""Previews are written beside the steps: no step waits, and no error is lost."""

from __future__ import annotations

import threading
from pathlib import Path

import imageio.v3 as iio
import pytest
import torch

from dreamfusion3d.core.types import Render
from dreamfusion3d.training.previews import PreviewWriter, write_preview


def gray_render(gray: float) -> Render:
    opacity = torch.ones(2, 4, 4)
    return Render(torch.full((2, 4, 4, 3), gray), opacity, opacity)


def test_preview_writer_has_written_the_last_preview_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "preview.png"
    with PreviewWriter(path) as previews:
        previews.submit(gray_render(0.5))
    assert iio.imread(path).shape == (8, 16, 3) and iio.imread(path)[0, 0, 0] == 128
    assert [p.name for p in tmp_path.iterdir()] == ["preview.png"]


def test_preview_writer_drops_previews_while_the_disk_is_slow(tmp_path: Path) -> None:
    gate, started, written = threading.Event(), threading.Event(), []

    def write_slowly(rgb: torch.Tensor, path: Path) -> None:
        started.set()
        assert gate.wait(10)
        written.append(float(rgb.mean()))
        write_preview(rgb, path)

    with PreviewWriter(tmp_path / "preview.png", write_slowly) as previews:
        previews.submit(gray_render(0.25))
        assert started.wait(10)
        for _ in range(3):
            previews.submit(gray_render(1.0))
        assert not written
        gate.set()
    assert written == [0.25]


def test_preview_writer_keeps_the_render_if_its_tensor_changes(tmp_path: Path) -> None:
    path, render = tmp_path / "preview.png", gray_render(0.25)
    with PreviewWriter(path) as previews:
        previews.submit(render)
        render.rgb.fill_(1.0)
    assert iio.imread(path)[0, 0, 0] == 64


@pytest.mark.parametrize("again", [True, False])
def test_preview_writer_raises_the_error_of_a_full_disk(tmp_path: Path, again: bool) -> None:
    def write_to_full_disk(rgb: torch.Tensor, path: Path) -> None:
        raise OSError(28, "No space left on device")

    previews = PreviewWriter(tmp_path / "preview.png", write_to_full_disk)
    previews.submit(gray_render(0.5))
    assert previews.pending is not None and previews.pending.exception(10) is not None
    with pytest.raises(OSError, match="No space"), previews:
        if again:
            previews.submit(gray_render(0.5))


def test_preview_writer_without_a_path_writes_nothing() -> None:
    with PreviewWriter(None) as previews:
        previews.submit(gray_render(0.5))
    assert previews.pending is None
