"""The embedded CLIP: hard negatives, training, and the round trip through its folder."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from safetensors import safe_open

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.image_text.embedded_clip import EmbeddedClip, EmbeddedClipEncoder, embedded_clip_folder
from dreamfusion3d.priors.image_text.train import hard_negative, train_embedded_clip
from dreamfusion3d.priors.pixel.conditioner import procedural_vocabulary
from dreamfusion3d.procedural.dataset import render_dataset
from dreamfusion3d.procedural.objects import ObjectSpec


def test_hard_negative_changes_one_visible_attribute():
    generator = torch.Generator().manual_seed(0)
    spec = ObjectSpec("vase", "red")
    for _ in range(200):
        negative = hard_negative(spec, generator=generator)
        slots = [f.name for f in dataclasses.fields(ObjectSpec)]
        changed = [name for name in slots if getattr(negative, name) != getattr(spec, name)]
        assert len(changed) == 1 and changed[0] not in ("category", "second_color", "option")


def test_train_embedded_clip_reduces_the_loss():
    *_, (_, data) = render_dataset(12, 2, categories=["mug", "duck"], generator=torch.Generator().manual_seed(0))
    net = EmbeddedClip(procedural_vocabulary(), (8, 8, 16, 16))
    generator = torch.Generator().manual_seed(0)
    steps = train_embedded_clip(net, data, steps=40, batch_size=12, learning_rate=5e-3, generator=generator)
    losses = [loss for _, loss, _ in steps]
    assert sum(losses[-8:]) < 0.85 * sum(losses[:8])


def test_save_and_load_round_trip(tmp_path):
    net = EmbeddedClip(["kind:mug", "colour:red"], (8, 8, 16, 16))
    net.save(tmp_path / "net")
    saved, loaded = EmbeddedClipEncoder(net), EmbeddedClipEncoder(EmbeddedClip.load(tmp_path / "net"))
    views = np.random.default_rng(0).random((2, 64, 64, 4)).astype(np.float32)
    np.testing.assert_allclose(saved.encode_images(views), loaded.encode_images(views), atol=1e-2)
    assert np.linalg.norm(saved.encode_texts(["a red mug"]), axis=1) == pytest.approx(1, abs=1e-5)
    with pytest.raises(InputError, match="harmonica"):
        saved.encode_texts(["a harmonica"])


def test_save_writes_the_committed_weights_unchanged(tmp_path):
    EmbeddedClip.load(embedded_clip_folder()).save(tmp_path)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / name).read_bytes() == (embedded_clip_folder() / name).read_bytes()
    with safe_open(tmp_path / "model.safetensors", framework="pt") as stream:
        assert {"eye", "seen", "words", "said", "scale"} == {key.partition(".")[0] for key in stream.keys()}  # noqa: SIM118


def test_load_embedded_reports_damaged_weights(tmp_path):
    EmbeddedClip(["kind:mug"], (8, 8, 16, 16)).save(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(InputError, match="encoder is damaged .*--encoder"):
        EmbeddedClipEncoder.load_embedded(tmp_path)
