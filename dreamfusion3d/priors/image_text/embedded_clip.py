"""Embedded image-text encoder: a small CLIP (Radford et al., arXiv 2103.00020) of procedural objects.

A residual network encodes images, and a bag of tokens encodes the parsed prompt, as unit vectors of one
space. Text-to-3D never optimizes against this encoder, so it is an independent evaluator of those assets.
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
# Module of `EmbeddedClip` -> its prefix in the committed weights, which keep older names.
_FILE_PREFIXES = {
    "image_blocks": "eye",
    "image_projection": "seen",
    "token_embedding": "words",
    "text_projection": "said",
}


def embedded_clip_folder() -> Path:
    return Path(__file__).parent / "weights"


class _ResidualBlock(nn.Module):
    """Residual block of two convolutions that halves the resolution."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(in_channels, out_channels, 3, 2, 1)
        self.norm = nn.GroupNorm(8, out_channels)
        self.second = nn.Conv2d(out_channels, out_channels, 3, 1, 1)
        self.skip = nn.Conv2d(in_channels, out_channels, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return F.silu(self.skip(x) + self.second(F.silu(self.norm(self.first(x)))))


class EmbeddedClip(nn.Module):
    """Encode images (b, 3, 64, 64) in [0, 1] and parsed prompts as unit vectors."""

    def __init__(self, vocabulary: list[str], widths: tuple[int, ...] = (32, 64, 128, 192)) -> None:
        super().__init__()
        self.vocabulary, self.widths = list(vocabulary), tuple(widths)
        self._token_index = {token: i for i, token in enumerate(self.vocabulary)}
        steps = zip((3, *widths), widths, strict=False)
        self.image_blocks = nn.Sequential(*(_ResidualBlock(a, b) for a, b in steps))
        self.image_projection = nn.Linear(widths[-1] * 16, EMBEDDING_DIM)
        self.token_embedding = nn.EmbeddingBag(len(vocabulary), 192, mode="sum")
        self.text_projection = nn.Sequential(nn.Linear(192, 192), nn.SiLU(), nn.Linear(192, EMBEDDING_DIM))
        self.scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def encode_images(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b d"]:
        return F.normalize(self.image_projection(self.image_blocks(images * 2 - 1).flatten(1)), dim=-1)

    def encode_specs(self, specs: Sequence[ObjectSpec]) -> Float[Tensor, "b d"]:
        rows = [[self._token_index[t] for t in spec.tokens() if t in self._token_index] for spec in specs]
        starts = torch.tensor([0, *(len(r) for r in rows[:-1])]).cumsum(0)
        tokens = torch.tensor([t for r in rows for t in r])
        return F.normalize(self.text_projection(self.token_embedding(tokens, starts)), dim=-1)

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "config.json", {"vocabulary": self.vocabulary, "widths": self.widths})
        with atomic_write(folder / _WEIGHTS_FILE) as temporary:
            tensors = {_rename_prefix(k, _FILE_PREFIXES): v.half().contiguous() for k, v in self.state_dict().items()}
            save_file(tensors, temporary)

    @classmethod
    def load(cls, folder: Path) -> EmbeddedClip:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten
            model = cls(config["vocabulary"], tuple(config["widths"]))
        modules = {prefix: module for module, prefix in _FILE_PREFIXES.items()}
        tensors = load_file(folder / _WEIGHTS_FILE)
        model.load_state_dict({_rename_prefix(k, modules): v.float() for k, v in tensors.items()})
        return model.eval().requires_grad_(False)


def _rename_prefix(key: str, names: dict[str, str]) -> str:
    prefix, dot, rest = key.partition(".")
    return names.get(prefix, prefix) + dot + rest


class EmbeddedClipEncoder:
    """`EmbeddedClip` as an `ImageTextEncoder`."""

    name = EMBEDDED_ENCODER

    def __init__(self, net: EmbeddedClip) -> None:
        self.net = net.eval()

    @classmethod
    def load_embedded(cls, folder: Path | None = None) -> EmbeddedClipEncoder:
        """Load the weights from ``folder`` (default: the committed ones); damaged ones raise InputError."""
        try:
            return cls(EmbeddedClip.load(folder or embedded_clip_folder()))
        except (OSError, SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:160]
            raise InputError(
                f"the embedded image-text encoder is damaged ({reason}): reinstall dreamfusion3d "
                "or select a CLIP model with --encoder"
            ) from None

    @torch.no_grad()
    def encode_images(self, views: Float[np.ndarray, "v h w 4"]) -> Float[np.ndarray, "v d"]:
        return self.net.encode_images(torch.from_numpy(composite_over_gray(views)).float().permute(0, 3, 1, 2)).numpy()

    @torch.no_grad()
    def encode_texts(self, prompts: Sequence[str]) -> Float[np.ndarray, "p d"]:
        specs = {prompt: spec for prompt in prompts if (spec := prompt_to_spec(prompt))}
        if unknown := [prompt for prompt in prompts if prompt not in specs]:
            raise InputError(
                f"the embedded encoder knows no noun in {unknown[0]!r}: select a CLIP model with --encoder"
            )
        return self.net.encode_specs([specs[prompt] for prompt in prompts]).numpy()
