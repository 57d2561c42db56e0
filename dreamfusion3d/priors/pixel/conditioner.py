"""Conditioning of the pixel prior on prompt tokens and the camera."""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion3d.priors.weights import load_weights, read_module_config, save_module
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.objects import COLORS, SIZES, ObjectSpec

_CAMERA_FEATURES = 12
_COLOR_PREFIXES = ("colour:", "second:")  # of color tokens
UNKNOWN_CAMERA_DEG = (0.0, 15.0)  # azimuth and elevation of images without cameras


def procedural_vocabulary() -> list[str]:
    """Return every token of the procedural objects' specs, in a fixed order."""
    tokens: dict[str, None] = {}
    for category in CATEGORIES.values():
        for (count, option), size in itertools.product(category.variants(), SIZES):
            tokens.update(dict.fromkeys(ObjectSpec(category.name, count=count, option=option, size=size).tokens()))
        for style in filter(None, category.style_names):
            spec = ObjectSpec(category.name, count=category.counts[0], style=style)
            tokens.update(dict.fromkeys(spec.tokens()))
        for material in category.materials:
            spec = ObjectSpec(category.name, count=category.counts[0], material=material)
            tokens.update(dict.fromkeys(spec.tokens()))
    for color in COLORS:
        tokens.update({f"colour:{color}": None, f"second:{color}": None})
    return list(tokens)


class Conditioner(nn.Module):
    """Map (tokens, camera) to one vector that modulates the U-Net's features by scale and shift.

    A prompt is a bag of tokens whose embeddings are summed: the parser has already resolved order and wording.
    Token 0 means "no prompt" (classifier-free guidance).
    """

    def __init__(self, vocabulary: list[str], width: int) -> None:
        super().__init__()
        self.vocabulary, self.width = list(vocabulary), width
        self.camera_conditioned = True  # False if trained on images without cameras
        self._token_ids = {token: i + 1 for i, token in enumerate(self.vocabulary)}
        self.embedding = nn.EmbeddingBag(len(vocabulary) + 1, width, mode="sum")
        self.camera = nn.Linear(_CAMERA_FEATURES, width)
        self.joint = nn.Sequential(nn.SiLU(), nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))

    def token_ids(self, tokens: list[str]) -> list[int]:
        """Return rows of the embedding table, skipping unknown tokens."""
        return [self._token_ids[t] for t in tokens if t in self._token_ids] or [0]

    def shape_token_ids(self, tokens: list[str]) -> list[int]:
        """Return rows of the embedding table for all tokens but colors."""
        return self.token_ids([t for t in tokens if not t.startswith(_COLOR_PREFIXES)])

    def missing_tokens(self, tokens: list[str]) -> list[str]:
        """Return the tokens that are not in the vocabulary."""
        return [t for t in tokens if t not in self._token_ids]

    def extend_vocabulary(self, vocabulary: list[str]) -> Conditioner:
        """Return a copy with rows for more tokens, drawn at random with the deviation of the existing ones.

        Starting all new categories at the mean of the existing ones makes them one category, which takes tens of
        thousands of images to separate at a network's learning rate.
        """
        missing = [t for t in vocabulary if t not in self._token_ids]
        extended = Conditioner([*self.vocabulary, *missing], self.width)
        extended.camera_conditioned = self.camera_conditioned
        other_weights = {k: v for k, v in self.state_dict().items() if k != "embedding.weight"}
        extended.load_state_dict({**extended.state_dict(), **other_weights})
        with torch.no_grad():
            table = extended.embedding.weight
            num_existing = len(self.vocabulary) + 1
            generator = torch.Generator().manual_seed(num_existing)
            std = float(self.embedding.weight.std())
            table[num_existing:] = std * torch.randn(len(missing), self.width, generator=generator)
            table[:num_existing] = self.embedding.weight
        return extended

    def embed(self, token_ids: list[list[int]]) -> Float[Tensor, "b d"]:
        """Sum the embeddings of each prompt's tokens."""
        flat = torch.tensor([row for rows in token_ids for row in rows], device=self.embedding.weight.device)
        starts = torch.tensor([0, *(len(rows) for rows in token_ids[:-1])]).cumsum(0)
        return self.embedding(flat, starts.to(flat.device))

    def forward(
        self, text: Float[Tensor, "b d"], azimuth_deg: Float[Tensor, " b"], elevation_deg: Float[Tensor, " b"]
    ) -> Float[Tensor, "b d"]:
        camera = self.camera(camera_features(azimuth_deg, elevation_deg))
        return text + camera + self.joint(torch.cat([text, camera], -1))

    def save(self, folder: Path) -> None:
        config: dict[str, object] = {"vocabulary": self.vocabulary, "width": self.width}
        save_module(self, folder, config if self.camera_conditioned else {**config, "cameras": False})

    @classmethod
    def load(cls, folder: Path) -> Conditioner:
        camera_conditioned, vocabulary = read_conditioner_config(folder)
        model = cls(vocabulary, read_module_config(folder)["width"])
        model.camera_conditioned = camera_conditioned
        return load_weights(model, folder)


def read_conditioner_config(folder: Path) -> tuple[bool, list[str]]:
    """Return whether a saved conditioner takes cameras, and its vocabulary, without loading its weights."""
    config = read_module_config(folder)
    return bool(config.get("cameras", True)), list(config["vocabulary"])


def camera_features(azimuth_deg: Float[Tensor, " b"], elevation_deg: Float[Tensor, " b"]) -> Float[Tensor, "b 12"]:
    """Return sines and cosines of 1..4 times the azimuth and 1..2 times the elevation."""
    azimuth, elevation = torch.deg2rad(azimuth_deg)[:, None], torch.deg2rad(elevation_deg)[:, None]
    a = azimuth * torch.arange(1, 5, device=azimuth.device)
    e = elevation * torch.arange(1, 3, device=azimuth.device)
    return torch.cat([a.sin(), a.cos(), e.sin(), e.cos()], -1)
