"""What the pixel prior is told besides the time: the prompt's tokens and the camera."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dreamfusion3d.core.files import atomic_write, write_json
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.objects import COLORS, SIZES, ObjectSpec

_FILE = "model.safetensors"
_CAMERA_FEATURES = 12
_COLOR_PREFIXES = ("colour:", "second:")  # how their tokens begin
UNKNOWN_CAMERA_DEG = (0.0, 15.0)  # azimuth and elevation that stand for every camera where none is known


def procedural_vocabulary() -> list[str]:
    """Every token that the procedural world's meanings are made of, in a fixed order."""
    tokens: dict[str, None] = {}
    for category in CATEGORIES.values():
        for (count, option), size in itertools.product(category.variants(), SIZES):
            tokens.update(dict.fromkeys(ObjectSpec(category.name, count=count, option=option, size=size).tokens()))
        for material in category.materials:
            tokens.update(
                dict.fromkeys(ObjectSpec(category.name, count=category.counts[0], material=material).tokens())
            )
    for color in COLORS:
        tokens.update({f"colour:{color}": None, f"second:{color}": None})
    return list(tokens)


class Conditioner(nn.Module):
    """(tokens, camera) -> one vector for the U-Net's scale and shift.

    A prompt is a bag of tokens, embedded and summed: order and wording were settled when the
    prompt was read. Token 0 stands for "no prompt" (classifier-free guidance).
    """

    def __init__(self, vocabulary: list[str], width: int) -> None:
        super().__init__()
        self.vocabulary = list(vocabulary)
        self.width = width
        self.camera_conditioned = True  # false: it was taught from pictures without cameras
        self._token_ids = {token: i + 1 for i, token in enumerate(self.vocabulary)}
        self.embedding = nn.EmbeddingBag(len(vocabulary) + 1, width, mode="sum")
        self.camera = nn.Linear(_CAMERA_FEATURES, width)
        self.joint = nn.Sequential(nn.SiLU(), nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))

    def token_ids(self, tokens: list[str]) -> list[int]:
        """Rows of the embedding table; tokens it does not have are left out."""
        return [self._token_ids[t] for t in tokens if t in self._token_ids] or [0]

    def shape_token_ids(self, tokens: list[str]) -> list[int]:
        """Rows of those tokens alone that are no colours."""
        return self.token_ids([t for t in tokens if not t.startswith(_COLOR_PREFIXES)])

    def missing_tokens(self, tokens: list[str]) -> list[str]:
        """Those of ``tokens`` that there is no row for."""
        return [t for t in tokens if t not in self._token_ids]

    def extend_vocabulary(self, vocabulary: list[str]) -> Conditioner:
        """The same with rows for more tokens, which begin at random and as wide as those that are known.

        Not at the mean of their like: then all new kinds are one kind, and at the rate that suits a
        network it takes them tens of thousands of pictures to part."""
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
        """Each prompt's rows, summed."""
        flat = torch.tensor([row for rows in token_ids for row in rows], device=self.embedding.weight.device)
        starts = torch.tensor([0, *(len(rows) for rows in token_ids[:-1])]).cumsum(0)
        return self.embedding(flat, starts.to(flat.device))

    def forward(
        self, text: Float[Tensor, "b d"], azimuth_deg: Float[Tensor, " b"], elevation_deg: Float[Tensor, " b"]
    ) -> Float[Tensor, "b d"]:
        camera = self.camera(camera_features(azimuth_deg, elevation_deg))
        return text + camera + self.joint(torch.cat([text, camera], -1))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config: dict[str, object] = {"vocabulary": self.vocabulary, "width": self.width}
        write_json(folder / "config.json", config if self.camera_conditioned else {**config, "cameras": False})
        with atomic_write(folder / _FILE) as temporary:
            save_file({k: v.half().contiguous() for k, v in self.state_dict().items()}, temporary)

    @classmethod
    def load(cls, folder: Path) -> Conditioner:
        config = json.loads((folder / "config.json").read_text())
        model = cls(config["vocabulary"], config["width"])
        model.camera_conditioned = bool(config.get("cameras", True))
        model.load_state_dict({k: v.float() for k, v in load_file(folder / _FILE).items()})
        return model


def camera_features(azimuth_deg: Float[Tensor, " b"], elevation_deg: Float[Tensor, " b"]) -> Float[Tensor, "b 12"]:
    """Sines and cosines of 1..4 times the azimuth and 1..2 times the elevation."""
    azimuth, elevation = torch.deg2rad(azimuth_deg)[:, None], torch.deg2rad(elevation_deg)[:, None]
    azimuth_multiples = torch.arange(1, 5, device=azimuth.device)
    elevation_multiples = torch.arange(1, 3, device=azimuth.device)
    return torch.cat(
        [
            torch.sin(azimuth * azimuth_multiples),
            torch.cos(azimuth * azimuth_multiples),
            torch.sin(elevation * elevation_multiples),
            torch.cos(elevation * elevation_multiples),
        ],
        -1,
    )
