"""Previews come beside the steps: none waits, none is lost without a word."""

from __future__ import annotations

import threading
from pathlib import Path

import imageio.v3 as iio
import pytest
import torch

from dreamfusion3d.core.types import Render
from dreamfusion3d.training import previews
from dreamfusion3d.training.previews import PreviewWriter


def picture(grey: float) -> Render:
    opacity = torch.ones(2, 4, 4)
    return Render(torch.full((2, 4, 4, 3), grey), opacity, opacity)


def test_the_last_one_is_there_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "preview.png"
    with PreviewWriter(path) as shown:
        shown.submit(picture(0.5))
    assert iio.imread(path).shape == (8, 16, 3) and iio.imread(path)[0, 0, 0] == 128
    assert [p.name for p in tmp_path.iterdir()] == ["preview.png"]


def test_nobody_waits_for_a_slow_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the pictures that come meanwhile are passed over."""
    gate, begun, written, write = threading.Event(), threading.Event(), [], previews.write_preview

    def slow(rgb: torch.Tensor, path: Path) -> None:
        begun.set()
        assert gate.wait(10)
        written.append(float(rgb.mean()))
        write(rgb, path)

    monkeypatch.setattr(previews, "write_preview", slow)
    with PreviewWriter(tmp_path / "preview.png") as shown:
        shown.submit(picture(0.25))
        assert begun.wait(10)
        for _ in range(3):
            shown.submit(picture(1.0))
        assert not written
        gate.set()
    assert written == [0.25]


def test_what_is_shown_is_the_step_s_even_if_its_tensor_changes(tmp_path: Path) -> None:
    path, one = tmp_path / "preview.png", picture(0.25)
    with PreviewWriter(path) as shown:
        shown.submit(one)
        one.rgb.fill_(1.0)
    assert iio.imread(path)[0, 0, 0] == 64


@pytest.mark.parametrize("again", [True, False])
def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: bool) -> None:
    def full(rgb: torch.Tensor, path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(previews, "write_preview", full)
    shown = PreviewWriter(tmp_path / "preview.png")
    shown.submit(picture(0.5))
    assert shown.pending is not None and shown.pending.exception(10) is not None
    with pytest.raises(OSError, match="No space"), shown:
        if again:
            shown.submit(picture(0.5))


def test_without_a_path_nothing_happens() -> None:
    with PreviewWriter(None) as shown:
        shown.submit(picture(0.5))
    assert shown.pending is None
