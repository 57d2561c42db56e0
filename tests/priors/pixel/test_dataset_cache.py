"""The cache of drawn props: files that several processes make, each once."""

import pytest
import torch

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.progress import QuietProgress
from dreamfusion3d.priors.pixel import dataset_cache
from dreamfusion3d.procedural import dataset


class Told(QuietProgress):
    """Stands in for a Progress."""

    def __init__(self):
        self.steps = []

    def stage(self, *of):
        pass

    def step(self, done, total, detail=""):
        self.steps.append((done, total))


@pytest.fixture
def small(monkeypatch):
    """Two pictures of ten props a file."""
    monkeypatch.setattr(dataset_cache, "OBJECTS_PER_SHARD", 10)
    monkeypatch.setattr(dataset_cache, "VIEWS_PER_OBJECT", 2)
    monkeypatch.setattr(dataset, "TRAIN_IMAGE_SIZE", 16)
    monkeypatch.setattr(dataset_cache.os, "cpu_count", lambda: 1)


def drawn_ones(folder):
    return sorted(path.name for path in folder.glob("*.safetensors"))


def test_an_interrupted_drawing_goes_on(tmp_path, small):
    whole, told = dataset_cache.load_or_render_dataset(tmp_path, 20, 0, Told()), Told()
    names = drawn_ones(tmp_path)
    assert len(names) == 2 and len(whole) == 20
    (tmp_path / names[0]).rename(tmp_path / f".{names[0]}.7.tmp.safetensors")  # as a killed process leaves it
    kept = (tmp_path / names[1]).stat().st_mtime_ns
    again = dataset_cache.load_or_render_dataset(tmp_path, 20, 0, told)
    assert torch.equal(again.layers, whole.layers)
    assert (tmp_path / names[1]).stat().st_mtime_ns == kept
    assert told.steps[0][0] > 10 and told.steps[-1] == (20, 20)


def test_what_is_there_is_taken_whatever_it_is_named(tmp_path, small):
    list(dataset_cache.render_shard(tmp_path / "mine.safetensors", 4, 1))
    assert len(dataset_cache.load_or_render_dataset(tmp_path, 20, 0, Told())) == 4
    assert drawn_ones(tmp_path) == ["mine.safetensors"]


def test_files_differ_and_seeds_too(tmp_path, small):
    dataset_cache.load_or_render_dataset(tmp_path / "a", 20, 0, Told())
    dataset_cache.load_or_render_dataset(tmp_path / "b", 20, 1, Told())
    files = [dataset._load_shard(p).azimuth_deg for f in ("a", "b") for p in sorted((tmp_path / f).iterdir())]
    assert len({tuple(f.flatten().tolist()) for f in files}) == 4


def test_several_processes_draw_what_one_does(tmp_path, monkeypatch):
    monkeypatch.setattr(dataset_cache, "OBJECTS_PER_SHARD", 2)
    alone, together, told = tmp_path / "alone", tmp_path / "together", Told()
    monkeypatch.setattr(dataset_cache.os, "cpu_count", lambda: 1)
    one = dataset_cache.load_or_render_dataset(alone, 4, 0, Told())
    monkeypatch.setattr(dataset_cache.os, "cpu_count", lambda: 2)
    two = dataset_cache.load_or_render_dataset(together, 4, 0, told)
    assert torch.equal(one.layers, two.layers) and told.steps[-1] == (4, 4)


def test_a_damaged_file_is_named(tmp_path, small):
    (tmp_path / "props.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="drawn anew"):
        dataset_cache.load_or_render_dataset(tmp_path, 20, 0, Told())
