"""The shipped image-text encoder: a small CLIP of the procedural world, for judging alone.

It is never asked while a prompt is distilled, so what it says of such an asset was not fitted to it
(`fit --teacher judge` does ask it). Pictures go through a small residual network, prompts through their
meaning; both end on one sphere (Radford et al., arXiv 2103.00020).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.files import replacing, write_json
from dreamfusion3d.priors.image_text.prompt_spec import meaning_of
from dreamfusion3d.priors.image_text.protocol import JUDGE, over_grey
from dreamfusion3d.procedural.objects import Meaning

_FILE = "model.safetensors"
DIMENSION = 96


def shipped_folder() -> Path:
    return Path(__file__).parent / "weights"


class _Residual(nn.Module):
    """Two convolutions beside a skip, half the size."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, after, 3, 2, 1)
        self.norm = nn.GroupNorm(8, after)
        self.second = nn.Conv2d(after, after, 3, 1, 1)
        self.skip = nn.Conv2d(before, after, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.skip(x) + self.second(F.silu(self.norm(self.first(x)))))


class JudgeNet(nn.Module):
    """Pictures (b, 3, 64, 64) in [0, 1] and bags of tokens to unit vectors."""

    def __init__(self, vocabulary: list[str], widths: tuple[int, ...] = (32, 64, 128, 192)) -> None:
        super().__init__()
        self.vocabulary, self.widths = list(vocabulary), tuple(widths)
        self._row = {token: i for i, token in enumerate(self.vocabulary)}
        steps = zip((3, *widths), widths, strict=False)
        self.eye = nn.Sequential(*(_Residual(a, b) for a, b in steps))
        self.seen = nn.Linear(widths[-1] * 16, DIMENSION)
        self.words = nn.EmbeddingBag(len(vocabulary), 192, mode="sum")
        self.said = nn.Sequential(nn.Linear(192, 192), nn.SiLU(), nn.Linear(192, DIMENSION))
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def look(self, pictures: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        return F.normalize(self.seen(self.eye(pictures * 2 - 1).flatten(1)), dim=-1)

    def hear(self, meanings: Sequence[Meaning]) -> Float[Tensor, "b d"]:
        rows = [[self._row[t] for t in m.tokens() if t in self._row] for m in meanings]
        starts = torch.tensor([0, *(len(r) for r in rows[:-1])]).cumsum(0)
        return F.normalize(self.said(self.words(torch.tensor([t for r in rows for t in r]), starts)), dim=-1)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "config.json", {"vocabulary": self.vocabulary, "widths": self.widths})
        with replacing(folder / _FILE) as temporary:
            save_file({k: v.half().contiguous() for k, v in self.state_dict().items()}, temporary)

    @classmethod
    def load(cls, folder: Path) -> JudgeNet:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        with torch.random.fork_rng(devices=[]):  # what is drawn here is overwritten
            model = cls(config["vocabulary"], tuple(config["widths"]))
        model.load_state_dict({k: v.float() for k, v in load_file(folder / _FILE).items()})
        return model.eval().requires_grad_(False)


class Judge:
    """``JudgeNet`` behind the interface of ``retrieval.Encoder``."""

    name = JUDGE

    def __init__(self, net: JudgeNet) -> None:
        self.net = net.eval()

    @classmethod
    def shipped(cls) -> Judge:
        folder = shipped_folder()
        try:
            return cls(JudgeNet.load(folder))
        except (OSError, SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise InputError(
                f"the shipped image-text encoder is damaged ({reason}): install dreamfusion3d again, "
                "or give a CLIP model with --encoder"
            ) from None

    @torch.no_grad()
    def pictures(self, views: Float[np.ndarray, "v h w 4"]) -> Float[np.ndarray, "v d"]:
        return self.net.look(torch.from_numpy(over_grey(views)).float().permute(0, 3, 1, 2)).numpy()

    @torch.no_grad()
    def sentences(self, prompts: Sequence[str]) -> Float[np.ndarray, "p d"]:
        meanings = []
        for prompt in prompts:
            meaning = meaning_of(prompt)
            if meaning is None:
                raise InputError(
                    f"the shipped encoder knows no noun in {prompt!r}; give a CLIP model with --encoder"
                )
            meanings.append(meaning)
        return self.net.hear(meanings).numpy()
