"""The shipped image-text encoder: a small CLIP of the procedural world, for judging alone.

It is never asked while a prompt is distilled, so what it says of such an asset was not fitted to it
(`fit --teacher embedded` does ask it). Pictures go through a small residual network, prompts through their
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
from dreamfusion3d.core.files import atomic_write, write_json
from dreamfusion3d.priors.image_text.prompt_spec import prompt_to_spec
from dreamfusion3d.priors.image_text.protocol import EMBEDDED_ENCODER, composite_over_gray
from dreamfusion3d.procedural.objects import ObjectSpec

_WEIGHTS_FILE = "model.safetensors"
EMBEDDING_DIM = 96


def embedded_clip_folder() -> Path:
    return Path(__file__).parent / "weights"


class _ResidualBlock(nn.Module):
    """Two convolutions beside a skip, half the size."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, out_channels, 3, 2, 1)
        self.norm = nn.GroupNorm(8, out_channels)
        self.second = nn.Conv2d(out_channels, out_channels, 3, 1, 1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.skip(x) + self.second(F.silu(self.norm(self.first(x)))))


class EmbeddedClip(nn.Module):
    """Pictures (b, 3, 64, 64) in [0, 1] and bags of tokens to unit vectors."""

    def __init__(self, vocabulary: list[str], widths: tuple[int, ...] = (32, 64, 128, 192)) -> None:
        super().__init__()
        self.vocabulary, self.widths = list(vocabulary), tuple(widths)
        self._token_index = {token: i for i, token in enumerate(self.vocabulary)}
        steps = zip((3, *widths), widths, strict=False)
        self.eye = nn.Sequential(*(_ResidualBlock(a, b) for a, b in steps))
        self.seen = nn.Linear(widths[-1] * 16, EMBEDDING_DIM)
        self.words = nn.EmbeddingBag(len(vocabulary), 192, mode="sum")
        self.said = nn.Sequential(nn.Linear(192, 192), nn.SiLU(), nn.Linear(192, EMBEDDING_DIM))
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def encode_images(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        return F.normalize(self.seen(self.eye(images * 2 - 1).flatten(1)), dim=-1)

    def encode_specs(self, specs: Sequence[ObjectSpec]) -> Float[Tensor, "b d"]:
        rows = [[self._token_index[t] for t in m.tokens() if t in self._token_index] for m in specs]
        starts = torch.tensor([0, *(len(r) for r in rows[:-1])]).cumsum(0)
        return F.normalize(self.said(self.words(torch.tensor([t for r in rows for t in r]), starts)), dim=-1)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "config.json", {"vocabulary": self.vocabulary, "widths": self.widths})
        with atomic_write(folder / _WEIGHTS_FILE) as temporary:
            save_file({k: v.half().contiguous() for k, v in self.state_dict().items()}, temporary)

    @classmethod
    def load(cls, folder: Path) -> EmbeddedClip:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        with torch.random.fork_rng(devices=[]):  # what is drawn here is overwritten
            model = cls(config["vocabulary"], tuple(config["widths"]))
        model.load_state_dict({k: v.float() for k, v in load_file(folder / _WEIGHTS_FILE).items()})
        return model.eval().requires_grad_(False)


class EmbeddedClipEncoder:
    """``JudgeNet`` behind the interface of ``retrieval.Encoder``."""

    name = EMBEDDED_ENCODER

    def __init__(self, net: EmbeddedClip) -> None:
        self.net = net.eval()

    @classmethod
    def load_embedded(cls) -> EmbeddedClipEncoder:
        folder = embedded_clip_folder()
        try:
            return cls(EmbeddedClip.load(folder))
        except (OSError, SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise InputError(
                f"the shipped image-text encoder is damaged ({reason}): install dreamfusion3d again, "
                "or give a CLIP model with --encoder"
            ) from None

    @torch.no_grad()
    def encode_images(self, views: Float[np.ndarray, "v h w 4"]) -> Float[np.ndarray, "v d"]:
        return self.net.encode_images(torch.from_numpy(composite_over_gray(views)).float().permute(0, 3, 1, 2)).numpy()

    @torch.no_grad()
    def encode_texts(self, prompts: Sequence[str]) -> Float[np.ndarray, "p d"]:
        specs = []
        for prompt in prompts:
            spec = prompt_to_spec(prompt)
            if spec is None:
                raise InputError(f"the shipped encoder knows no noun in {prompt!r}; give a CLIP model with --encoder")
            specs.append(spec)
        return self.net.encode_specs(specs).numpy()
