"""The cache of rendered objects: shards that several processes make, each once."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import QuietProgress
from dreamfusion3d.priors.pixel.dataset_cache import load_or_render_dataset, render_shard
from dreamfusion3d.procedural import dataset


class StepRecorder(QuietProgress):
    """A progress that keeps its steps."""

    def __init__(self):
        super().__init__()
        self.steps = []

    def step(self, done, total, note=""):
        self.steps.append((done, total))


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(dataset, "TRAIN_IMAGE_SIZE", 16)


def load(folder: Path, seed: int = 0, progress: QuietProgress | None = None) -> dataset.ObjectDataset:
    """Two shards of ten objects, two views each."""
    return load_or_render_dataset(
        folder, 20, seed, progress or QuietProgress(), objects_per_shard=10, views_per_object=2, workers=1
    )


def shard_names(folder):
    return sorted(path.name for path in folder.glob("*.safetensors"))


def test_load_or_render_dataset_resumes(tmp_path, small):
    whole, progress = load(tmp_path), StepRecorder()
    names = shard_names(tmp_path)
    assert len(names) == 2 and len(whole) == 20
    (tmp_path / names[0]).rename(tmp_path / f".{names[0]}.7.tmp.safetensors")  # as a killed process leaves it
    modified = (tmp_path / names[1]).stat().st_mtime_ns
    again = load(tmp_path, progress=progress)
    assert torch.equal(again.layers, whole.layers)
    assert (tmp_path / names[1]).stat().st_mtime_ns == modified
    assert progress.steps[0][0] > 10 and progress.steps[-1] == (20, 20)


def test_load_or_render_dataset_takes_shards_of_any_name(tmp_path, small):
    list(render_shard(tmp_path / "mine.safetensors", 4, 2, 1))
    assert len(load(tmp_path)) == 4
    assert shard_names(tmp_path) == ["mine.safetensors"]


def test_load_or_render_dataset_shards_and_seeds_differ(tmp_path, small):
    load(tmp_path / "a", 0)
    load(tmp_path / "b", 1)
    files = [load_file(p)["azimuth_deg"] for f in ("a", "b") for p in sorted((tmp_path / f).iterdir())]
    assert len({tuple(f.flatten().tolist()) for f in files}) == 4


def test_load_or_render_dataset_in_several_processes(tmp_path):
    progress = StepRecorder()
    render = functools.partial(load_or_render_dataset, num_objects=4, seed=0, objects_per_shard=2)
    one = render(tmp_path / "one", progress=QuietProgress(), workers=1)
    two = render(tmp_path / "two", progress=progress, workers=2)
    assert torch.equal(one.layers, two.layers) and progress.steps[-1] == (4, 4)


def test_load_or_render_dataset_names_a_damaged_cache(tmp_path, small):
    (tmp_path / "props.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="delete it to render it again"):
        load(tmp_path)
