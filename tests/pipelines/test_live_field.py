"""FieldPublisher writes the field as often as is cheap, and only while somebody watches."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dreamfusion3d.core import files
from dreamfusion3d.pipelines import live_field
from dreamfusion3d.pipelines.live_field import FieldPublisher, mark_watched
from dreamfusion3d.pipelines.run_reader import find_latest_field
from dreamfusion3d.pipelines.step_log import read_step_log
from tests.support.pipelines import make_ball


class FakeClock:
    """A clock that tests advance; writing a file takes ``write_seconds`` of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, write_seconds: float) -> None:
        self.now = 100.0
        self.write_times: list[float] = []
        write_bytes = files.write_bytes

        def write(path: Path, data: bytes) -> None:
            write_bytes(path, data)
            self.write_times.append(self.now)
            self.now += write_seconds

        monkeypatch.setattr(live_field.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(live_field.files, "write_bytes", write)


@pytest.mark.parametrize("write_seconds", [0.0, 0.001, 0.5])
def test_field_publisher_bounds_the_time_of_writing(
    write_seconds: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, field = FakeClock(monkeypatch, write_seconds), torch.nn.Linear(2, 2)
    publisher, begin = FieldPublisher(field, tmp_path), clock.now
    for step in range(4000):
        clock.now += 0.05
        mark_watched(tmp_path)
        os.utime(tmp_path / "watched", ns=(step, step))
        publisher.step()
    fraction = write_seconds * len(clock.write_times) / (clock.now - begin)
    assert fraction <= live_field.MAX_WRITE_FRACTION + 0.01
    interval = max(
        live_field.PUBLISH_INTERVAL_SECONDS + 0.05, write_seconds / live_field.MAX_WRITE_FRACTION + write_seconds
    )
    assert len(clock.write_times) >= 0.9 * 200 / interval - 1
    assert torch.equal(load_file(tmp_path / "live.safetensors")["weight"], field.weight)
    publisher.close()
    assert [p.name for p in tmp_path.iterdir()] == ["watched"]


def test_field_publisher_writes_only_while_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark_watched(tmp_path)  # of an earlier run, by a clock that is ahead
    os.utime(tmp_path / "watched", ns=(1 << 62, 1 << 62))
    clock = FakeClock(monkeypatch, 0.0)
    publisher = FieldPublisher(torch.nn.Linear(2, 2), tmp_path)

    def num_writes(seconds: int) -> int:
        before = len(clock.write_times)
        for _ in range(seconds * 10):
            clock.now += 0.1
            publisher.step()
        return len(clock.write_times) - before

    assert not num_writes(60)
    os.utime(tmp_path / "watched", ns=(5, 5))  # by a clock that is behind
    assert 10 <= num_writes(60) <= live_field.WATCH_TIMEOUT_SECONDS + 1
    assert not num_writes(60)


def test_text_to_mesh_watched_run_gives_the_same_bytes(
    untrained: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    original = FieldPublisher.step

    def step(self: FieldPublisher) -> None:
        mark_watched(self.work)
        os.utime(self.work / "watched", ns=(len(seen), len(seen)))
        self.next_check = 0.0
        original(self)
        path = find_latest_field(self.work.parent)
        seen.append((path and path.name, len(read_step_log(self.work))))

    unwatched = make_ball(tmp_path / "a")
    monkeypatch.setattr(FieldPublisher, "step", step)
    watched = make_ball(tmp_path / "b")
    assert seen == [("live.safetensors", n) for n in (1, 2, 3)]
    assert watched.record.files == unwatched.record.files
    assert not (watched.folder / "work" / "live.safetensors").exists()
