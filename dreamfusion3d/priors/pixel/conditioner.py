"""What the pixel prior is told besides the time: the prompt's tokens and the camera."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dreamfusion3d.core.files import replacing, write_json
from dreamfusion3d.procedural.categories import KINDS
from dreamfusion3d.procedural.objects import COLOURS, SIZES, Meaning

_FILE = "model.safetensors"
_CAMERA_FEATURES = 12
_COLOURS = ("colour:", "second:")  # how their tokens begin
UNTOLD_DEG = (0.0, 15.0)  # azimuth and elevation that stand for every camera where none is known


def world_vocabulary() -> list[str]:
    """Every token that the procedural world's meanings are made of, in a fixed order."""
    tokens: dict[str, None] = {}
    for kind in KINDS.values():
        for (count, option), size in itertools.product(kind.forms(), SIZES):
            tokens.update(dict.fromkeys(Meaning(kind.name, count=count, option=option, size=size).tokens()))
        for finish in kind.finishes:
            tokens.update(dict.fromkeys(Meaning(kind.name, count=kind.counts[0], finish=finish).tokens()))
    for colour in COLOURS:
        tokens.update({f"colour:{colour}": None, f"second:{colour}": None})
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
        self.cameras = True  # false: it was taught from pictures without cameras
        self._row = {token: i + 1 for i, token in enumerate(self.vocabulary)}
        self.embedding = nn.EmbeddingBag(len(vocabulary) + 1, width, mode="sum")
        self.camera = nn.Linear(_CAMERA_FEATURES, width)
        self.joint = nn.Sequential(nn.SiLU(), nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, width))

    def rows(self, tokens: list[str]) -> list[int]:
        """Rows of the embedding table; tokens it does not have are left out."""
        return [self._row[t] for t in tokens if t in self._row] or [0]

    def shape_rows(self, tokens: list[str]) -> list[int]:
        """Rows of those tokens alone that are no colours."""
        return self.rows([t for t in tokens if not t.startswith(_COLOURS)])

    def missing(self, tokens: list[str]) -> list[str]:
        """Those of ``tokens`` that there is no row for."""
        return [t for t in tokens if t not in self._row]

    def extended(self, vocabulary: list[str]) -> Conditioner:
        """The same with rows for more tokens, which begin at random and as wide as those that are known.

        Not at the mean of their like: then all new kinds are one kind, and at the rate that suits a
        network it takes them tens of thousands of pictures to part."""
        missing = [t for t in vocabulary if t not in self._row]
        wider = Conditioner([*self.vocabulary, *missing], self.width)
        wider.cameras = self.cameras
        rest = {k: v for k, v in self.state_dict().items() if k != "embedding.weight"}
        wider.load_state_dict({**wider.state_dict(), **rest})
        with torch.no_grad():
            table = wider.embedding.weight
            known = len(self.vocabulary) + 1
            generator = torch.Generator().manual_seed(known)
            spread = float(self.embedding.weight.std())
            table[known:] = spread * torch.randn(len(missing), self.width, generator=generator)
            table[:known] = self.embedding.weight
        return wider

    def embed(self, prompts: list[list[int]]) -> Float[Tensor, "b d"]:
        """Each prompt's rows, summed."""
        flat = torch.tensor([row for rows in prompts for row in rows], device=self.embedding.weight.device)
        starts = torch.tensor([0, *(len(rows) for rows in prompts[:-1])]).cumsum(0)
        return self.embedding(flat, starts.to(flat.device))

    def forward(
        self, text: Float[Tensor, "b d"], azimuth_deg: Float[Tensor, " b"], elevation_deg: Float[Tensor, " b"]
    ) -> Float[Tensor, "b d"]:
        camera = self.camera(camera_features(azimuth_deg, elevation_deg))
        return text + camera + self.joint(torch.cat([text, camera], -1))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        config: dict[str, object] = {"vocabulary": self.vocabulary, "width": self.width}
        write_json(folder / "config.json", config if self.cameras else {**config, "cameras": False})
        with replacing(folder / _FILE) as temporary:
            save_file({k: v.half().contiguous() for k, v in self.state_dict().items()}, temporary)

    @classmethod
    def load(cls, folder: Path) -> Conditioner:
        config = json.loads((folder / "config.json").read_text())
        model = cls(config["vocabulary"], config["width"])
        model.cameras = bool(config.get("cameras", True))
        model.load_state_dict({k: v.float() for k, v in load_file(folder / _FILE).items()})
        return model


def camera_features(
    azimuth_deg: Float[Tensor, " b"], elevation_deg: Float[Tensor, " b"]
) -> Float[Tensor, "b 12"]:
    """Sines and cosines of 1..4 times the azimuth and 1..2 times the elevation."""
    azimuth, elevation = torch.deg2rad(azimuth_deg)[:, None], torch.deg2rad(elevation_deg)[:, None]
    turns = torch.arange(1, 5, device=azimuth.device)
    lifts = torch.arange(1, 3, device=azimuth.device)
    return torch.cat(
        [torch.sin(azimuth * turns), torch.cos(azimuth * turns), torch.sin(elevation * lifts),
         torch.cos(elevation * lifts)], -1,
    )


