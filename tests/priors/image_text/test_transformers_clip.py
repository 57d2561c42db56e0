"""CLIP models from transformers, loaded by the real code from a tiny model of random weights."""

from __future__ import annotations

import json
import string

import numpy as np
import pytest

from dreamfusion3d.core.errors import InputError, MissingExtraError
from dreamfusion3d.evaluation.retrieval import similarity_matrix
from dreamfusion3d.priors.image_text.image_encoder import load_image_encoder
from dreamfusion3d.priors.image_text.loading import load_image_text_encoder
from dreamfusion3d.priors.image_text.protocol import ImageTextEncoder
from dreamfusion3d.priors.image_text.transformers_clip import ClipEncoder

transformers = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import torch

    path = tmp_path_factory.mktemp("clip")
    letters = string.ascii_lowercase
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{c}</w>" for c in letters)]
    (path / "vocab.json").write_text(json.dumps({w: i for i, w in enumerate(words)}))
    (path / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = transformers.CLIPTokenizer(vocab=str(path / "vocab.json"), merges=str(path / "merges.txt"))
    side = {"shortest_edge": 32}
    images = transformers.CLIPImageProcessor(size=side, crop_size={"height": 32, "width": 32})
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ends = {"vocab_size": len(words), "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
    config = transformers.CLIPConfig(
        text_config=small | ends, vision_config=small | {"image_size": 32, "patch_size": 16}, projection_dim=8
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        transformers.CLIPModel(config).save_pretrained(path)
    transformers.CLIPProcessor(images, tokenizer).save_pretrained(path)
    return path


def test_load_image_text_encoder_from_a_folder(folder):
    clip = load_image_text_encoder(str(folder))
    assert isinstance(clip, ImageTextEncoder)
    views = np.random.default_rng(0).random((3, 64, 64, 4))
    prompts = ["a red mug", "a blue chair"]
    assert np.linalg.norm(clip.encode_images(views), axis=1) == pytest.approx(1, abs=1e-5)
    assert clip.encode_texts(prompts).shape == (2, 8)
    assert not np.allclose(*clip.encode_texts(prompts)), "prompts are distinguished"
    assert similarity_matrix(clip, [views], prompts).shape == (1, 2)


def test_load_image_encoder_matches_the_processor_and_has_gradients(folder):
    import torch

    views = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 4)) / 255
    views[..., 3] = 1
    images = torch.from_numpy(views[..., :3]).float().permute(0, 3, 1, 2).requires_grad_(True)
    encoder = load_image_encoder("clip", str(folder))
    features = encoder.encode_image(images)
    assert features.detach().numpy() == pytest.approx(ClipEncoder(str(folder)).encode_images(views), abs=1e-5)
    features[:, 0].sum().backward()
    assert images.grad is not None and images.grad.abs().amax() > 0
    assert not any(p.requires_grad for p in encoder.model.parameters())
    with pytest.raises(InputError, match="--clip-model"):
        load_image_encoder("clip")


def test_clip_encoder_errors(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="cannot load a CLIP model"):
        ClipEncoder(str(tmp_path / "nowhere"))
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"dreamfusion3d\[clip\]"):
        ClipEncoder(str(tmp_path))
