"""Prompts through a folder's text encoders: loaded for that one purpose, freed after, results kept.

What each family takes of them is written in its paper and its model card: Stable Diffusion the last
layer of one CLIP, SDXL (arXiv 2307.01952) the penultimate layers of two and the pooled vector of the
second, SD3 (arXiv 2403.03206) those of both beside T5, Flux a pooled CLIP vector and T5, IF T5 alone.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core.errors import MissingExtraError
from dreamfusion3d.priors.pretrained.diffusers_folder import DAMAGE, Folder, damaged, quiet
from dreamfusion3d.priors.pretrained.text_cache import KeptTexts
from dreamfusion3d.priors.protocol import Text

CLIP_TOKENS = 77
SD3_TOKENS = 256


@dataclass(frozen=True)
class Encoders:
    """Where the text encoders of a folder lie, and how they compute."""

    folder: Folder
    device: torch.device
    dtype: torch.dtype

    def clip(self, number: int, prompts: list[str], *, projected: bool) -> ClipTexts:
        """Of the ``number``-th encoder, a CLIP; ``projected``: its pooled vector in the shared space."""
        transformers = library()
        kind = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
        tokenizer = self.tokenizer(number, transformers.CLIPTokenizer)
        rows = []
        with self.loaded(number, kind) as model:
            for prompt in prompts:  # each by itself, or its digits would depend on its neighbours
                ids, mask = tokens(tokenizer, prompt, CLIP_TOKENS)
                # in Stable Diffusion the padding is seen, unless the encoder's config says otherwise
                masked = mask if getattr(model.config, "use_attention_mask", False) else None
                rows.append(model(
                    ids.to(self.device), attention_mask=None if masked is None else masked.to(self.device),
                    output_hidden_states=True,
                ))
        return ClipTexts(
            torch.cat([r.last_hidden_state.cpu() for r in rows]),
            torch.cat([r.hidden_states[-2].cpu() for r in rows]),
            torch.cat([(r.text_embeds if projected else r.pooler_output).cpu() for r in rows]),
        )

    def t5(self, number: int, prompts: list[str], length: int, *, masked: bool) -> Float[Tensor, "b n d"]:
        """Of the ``number``-th encoder, a T5; ``masked``: the padding is not seen."""
        transformers = library()
        tokenizer = self.tokenizer(number, transformers.T5TokenizerFast)
        rows = []
        with self.loaded(number, transformers.T5EncoderModel) as model:
            for prompt in prompts:
                ids, mask = tokens(tokenizer, prompt, length)
                seen = mask.to(self.device) if masked else None
                rows.append(model(ids.to(self.device), attention_mask=seen).last_hidden_state.cpu())
        return torch.cat(rows)

    @contextlib.contextmanager
    def loaded(self, number: int, kind: Any) -> Iterator[Any]:
        """An encoder on the device, for as long as the block lasts."""
        held = [self.folder.module(part("text_encoder", number), kind, self.dtype).to(self.device)]
        try:
            with torch.no_grad():
                yield held[0]
        finally:
            held.clear()
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def tokenizer(self, number: int, kind: Any) -> Any:
        where = self.folder.path / part("tokenizer", number)
        with quiet():
            try:
                return kind.from_pretrained(where, local_files_only=True)
            except ImportError:
                raise MissingExtraError("sentencepiece", "priors", f"the tokenizer in {where}") from None
            except DAMAGE as error:
                raise damaged(where, error) from None


@dataclass(frozen=True)
class ClipTexts:
    last: Float[Tensor, "b n d"]
    penultimate: Float[Tensor, "b n d"]
    pooled: Float[Tensor, "b e"]


@dataclass(frozen=True)
class Reader:
    """A family's way from sentences to rows of ``Text``.

    ``family`` encodes several sentences; ``longest`` is the encoder (number, tokens) that reads most of
    a prompt, and ``t5`` whether it is one.
    """

    encoders: Encoders
    family: Callable[[Encoders, list[str]], Text]
    kept: KeptTexts
    longest: tuple[int, int]
    t5: bool

    def encode(self, prompts: list[str]) -> Text:
        def new(missing: list[str]) -> list[Text]:
            text = self.family(self.encoders, missing)
            return [text.select(slice(i, i + 1)) for i in range(len(missing))]

        text = self.kept.encode(prompts, new).to(self.encoders.device)
        return Text(text.embedding.float(), None if text.pooled is None else text.pooled.float())

    def check(self, prompt: str) -> list[str]:
        """A warning when the prior does not read the prompt to its end."""
        number, limit = self.longest
        transformers = library()
        kind = transformers.T5TokenizerFast if self.t5 else transformers.CLIPTokenizer
        with quiet():
            count = len(self.encoders.tokenizer(number, kind)(prompt).input_ids)
        if count <= limit:
            return []
        return [f"the prompt has {count} tokens; this prior reads the first {limit}"]


def library() -> Any:
    """transformers, which holds the text encoders."""
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("transformers", "priors", "a prior with a text encoder") from None
    return transformers


def part(name: str, number: int) -> str:
    """text_encoder, text_encoder_2, text_encoder_3."""
    return name if number == 1 else f"{name}_{number}"


def tokens(tokenizer: Any, prompt: str, length: int) -> tuple[Tensor, Tensor]:
    found = tokenizer([prompt], padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return found.input_ids, found.attention_mask


def stable_diffusion(encoders: Encoders, prompts: list[str]) -> Text:
    return Text(encoders.clip(1, prompts, projected=False).last)


def sdxl(encoders: Encoders, prompts: list[str]) -> Text:
    """The empty prompt is all zeros where the folder says so."""
    first = encoders.clip(1, prompts, projected=False)
    second = encoders.clip(2, prompts, projected=True)
    hidden, pooled = torch.cat([first.penultimate, second.penultimate], -1), second.pooled
    if encoders.folder.index().get("force_zeros_for_empty_prompt", True):
        said = torch.tensor([float(prompt != "") for prompt in prompts]).to(hidden)
        hidden, pooled = hidden * said[:, None, None], pooled * said[:, None]
    return Text(hidden, pooled)


def deepfloyd(encoders: Encoders, prompts: list[str]) -> Text:
    """IF was taught lower case."""
    return Text(encoders.t5(1, [p.lower().strip() for p in prompts], CLIP_TOKENS, masked=True))


def sd3(encoders: Encoders, prompts: list[str]) -> Text:
    """Both CLIPs side by side, filled up with zeros to T5's width, and T5's tokens behind them; the
    third encoder may be left out of a folder, and is then all zeros."""
    first, second = (encoders.clip(n, prompts, projected=True) for n in (1, 2))
    width = encoders.folder.config("transformer")["joint_attention_dim"]
    clip = torch.cat([first.penultimate, second.penultimate], -1)
    clip = F.pad(clip, (0, width - clip.shape[-1]))
    if encoders.folder.lists("text_encoder_3"):
        t5 = encoders.t5(3, prompts, SD3_TOKENS, masked=False).to(clip)
    else:
        t5 = clip.new_zeros(len(prompts), SD3_TOKENS, width)
    return Text(torch.cat([clip, t5], 1), torch.cat([first.pooled, second.pooled], -1))


def flux(encoders: Encoders, prompts: list[str]) -> Text:
    pooled = encoders.clip(1, prompts, projected=False).pooled
    return Text(encoders.t5(2, prompts, flux_tokens(encoders.folder)[1], masked=False), pooled)


def by_clip(folder: Folder) -> tuple[int, int, bool]:
    return 1, CLIP_TOKENS, False


def by_t5(folder: Folder) -> tuple[int, int, bool]:
    return 1, CLIP_TOKENS, True


def sd3_tokens(folder: Folder) -> tuple[int, int, bool]:
    return (3, SD3_TOKENS, True) if folder.lists("text_encoder_3") else by_clip(folder)


def flux_tokens(folder: Folder) -> tuple[int, int, bool]:
    """512 for FLUX.1-dev; 256 for FLUX.1-schnell, which has no guidance embedding."""
    return 2, 512 if folder.config("transformer").get("guidance_embeds") else 256, True
