"""A field is kept for those who look, as often as is cheap, and for nobody else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dreamfusion3d.core import files
from dreamfusion3d.pipelines import live_field
from dreamfusion3d.pipelines.live_control import read_step_log
from dreamfusion3d.pipelines.live_field import FieldPublisher, mark_watched
from dreamfusion3d.pipelines.run_reader import find_latest_field
from tests.pipelines import test_text_to_mesh as test_pipeline
from tests.pipelines.test_text_to_mesh import make

quick = test_pipeline.quick


class Clock:
    """Goes on by what writing takes, and by what a test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, writing: float) -> None:
        self.now, self.written = 100.0, list[float]()
        plain = files.write_bytes

        def write(path: Path, data: bytes) -> None:
            plain(path, data)
            self.written.append(self.now)
            self.now += writing

        monkeypatch.setattr(live_field.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(live_field.files, "write_bytes", write)


@pytest.mark.parametrize("writing", [0.0, 0.001, 0.5])
def test_as_often_as_is_cheap(writing: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, field = Clock(monkeypatch, writing), torch.nn.Linear(2, 2)
    found, begun = FieldPublisher(field, tmp_path), clock.now
    for step in range(4000):
        clock.now += 0.05
        mark_watched(tmp_path)
        os.utime(tmp_path / "watched", ns=(step, step))
        found.step()
    spent = writing * len(clock.written) / (clock.now - begun)
    assert spent <= live_field.MAX_WRITE_FRACTION + 0.01
    often = 200 / max(live_field.PUBLISH_INTERVAL_SECONDS + 0.05, writing / live_field.MAX_WRITE_FRACTION + writing)
    assert len(clock.written) >= 0.9 * often - 1
    assert torch.equal(load_file(tmp_path / "live.safetensors")["weight"], field.weight)
    found.close()
    assert [p.name for p in tmp_path.iterdir()] == ["watched"]


def test_nobody_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark_watched(tmp_path)  # of an earlier run, and by a clock that is ahead
    os.utime(tmp_path / "watched", ns=(1 << 62, 1 << 62))
    clock = Clock(monkeypatch, 0.0)
    found = FieldPublisher(torch.nn.Linear(2, 2), tmp_path)

    def pass_by(seconds: int) -> int:
        before = len(clock.written)
        for _ in range(seconds * 10):
            clock.now += 0.1
            found.step()
        return len(clock.written) - before

    assert not pass_by(60)
    os.utime(tmp_path / "watched", ns=(5, 5))  # by a clock that is behind
    assert 10 <= pass_by(60) <= live_field.WATCH_TIMEOUT_SECONDS + 1
    assert not pass_by(60)


def test_a_watched_run_makes_the_same_bytes(quick: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    plain = FieldPublisher.step

    def step(self: FieldPublisher) -> None:
        mark_watched(self.work)
        os.utime(self.work / "watched", ns=(len(seen), len(seen)))
        self.next_check = 0.0
        plain(self)
        path = find_latest_field(self.work.parent)
        seen.append((path and path.name, len(read_step_log(self.work))))

    unwatched = make(tmp_path / "a")
    monkeypatch.setattr(FieldPublisher, "step", step)
    watched = make(tmp_path / "b")
    assert seen == [("live.safetensors", n) for n in (1, 2, 3)]
    assert watched.record.files == unwatched.record.files
    assert not (watched.folder / "work" / "live.safetensors").exists()
