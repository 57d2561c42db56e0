"""Text encoders of each model family: loaded to encode prompts, freed afterwards, results cached.

Conditioning by family: Stable Diffusion, the last layer of one CLIP encoder; SDXL (arXiv 2307.01952), the
penultimate layers of two and the pooled vector of the second; SD3 (arXiv 2403.03206), both of these for two
CLIP encoders, and T5; Flux, a pooled CLIP vector and T5; DeepFloyd IF, T5 alone.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.core.errors import MissingExtraError
from dreamfusion3d.priors.pretrained.diffusers_folder import (
    LOAD_ERRORS,
    DiffusersFolder,
    damaged_file_error,
    silence_libraries,
)
from dreamfusion3d.priors.pretrained.text_cache import TextEmbeddingCache
from dreamfusion3d.priors.protocol import TextEmbedding

CLIP_TOKENS = 77
SD3_T5_TOKENS = 256


@dataclass(frozen=True)
class TextEncoders:
    """The text encoders of a model folder, with the device and precision they compute in."""

    folder: DiffusersFolder
    device: torch.device
    dtype: torch.dtype

    def encode_clip(self, number: int, prompts: list[str], *, projected: bool) -> ClipTextOutput:
        """Encode with CLIP encoder ``number`` (1-based); ``projected`` pools into the shared image-text space."""
        transformers = import_transformers()
        model_class = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
        tokenizer = self.load_tokenizer(number, transformers.CLIPTokenizer)
        rows = []
        with self.loaded_encoder(number, model_class) as model:
            for prompt in prompts:  # one at a time: within a batch the last digits depend on the other prompts
                ids, padding = tokenize_padded(tokenizer, prompt, CLIP_TOKENS)
                # Stable Diffusion attends to padding unless the encoder's config disables it
                mask = padding.to(self.device) if getattr(model.config, "use_attention_mask", False) else None
                rows.append(model(ids.to(self.device), attention_mask=mask, output_hidden_states=True))
        return ClipTextOutput(
            torch.cat([r.last_hidden_state.cpu() for r in rows]),
            torch.cat([r.hidden_states[-2].cpu() for r in rows]),
            torch.cat([(r.text_embeds if projected else r.pooler_output).cpu() for r in rows]),
        )

    def encode_t5(self, number: int, prompts: list[str], length: int, *, masked: bool) -> Float[Tensor, "b n d"]:
        """Encode with T5 encoder ``number`` (1-based); ``masked`` excludes padding from attention."""
        transformers = import_transformers()
        tokenizer = self.load_tokenizer(number, transformers.T5TokenizerFast)
        rows = []
        with self.loaded_encoder(number, transformers.T5EncoderModel) as model:
            for prompt in prompts:
                ids, padding = tokenize_padded(tokenizer, prompt, length)
                mask = padding.to(self.device) if masked else None
                rows.append(model(ids.to(self.device), attention_mask=mask).last_hidden_state.cpu())
        return torch.cat(rows)

    @contextlib.contextmanager
    def loaded_encoder(self, number: int, model_class: Any) -> Iterator[Any]:
        """Load an encoder onto the device and free it on exit."""
        part = numbered_part("text_encoder", number)
        encoder = [self.folder.load_module(part, model_class, self.dtype).to(self.device)]
        try:
            with torch.no_grad():
                yield encoder[0]
        finally:
            encoder.clear()
            gc.collect()
            if self.device.type == "cuda":
                torch.cuda.empty_cache()

    def load_tokenizer(self, number: int, tokenizer_class: Any) -> Any:
        path = self.folder.path / numbered_part("tokenizer", number)
        with silence_libraries():
            try:
                return tokenizer_class.from_pretrained(path, local_files_only=True)
            except ImportError:
                raise MissingExtraError("sentencepiece", "priors", f"the tokenizer in {path}") from None
            except LOAD_ERRORS as error:
                raise damaged_file_error(path, error) from None


@dataclass(frozen=True)
class ClipTextOutput:
    """Hidden states and pooled vector of a CLIP text encoder."""

    last_hidden: Float[Tensor, "b n d"]
    penultimate_hidden: Float[Tensor, "b n d"]
    pooled: Float[Tensor, "b e"]


class PromptLimit(NamedTuple):
    """The text encoder of a model that reads the longest prompts."""

    encoder: int  # 1-based
    num_tokens: int
    is_t5: bool


@dataclass(frozen=True)
class PromptEncoder:
    """Cached prompt encoding of one model; ``encode_prompts`` is its family's encoding function."""

    encoders: TextEncoders
    encode_prompts: Callable[[TextEncoders, list[str]], TextEmbedding]
    cache: TextEmbeddingCache
    prompt_limit: PromptLimit

    def encode(self, prompts: list[str]) -> TextEmbedding:
        def encode_missing(missing: list[str]) -> list[TextEmbedding]:
            text = self.encode_prompts(self.encoders, missing)
            return [text.select(slice(i, i + 1)) for i in range(len(missing))]

        text = self.cache.get_or_encode(prompts, encode_missing).to(self.encoders.device)
        return TextEmbedding(text.embedding.float(), None if text.pooled is None else text.pooled.float())

    def check_prompt(self, prompt: str) -> list[str]:
        """Return a warning if the prompt is longer than the prior reads."""
        limit, transformers = self.prompt_limit, import_transformers()
        tokenizer_class = transformers.T5TokenizerFast if limit.is_t5 else transformers.CLIPTokenizer
        with silence_libraries():
            count = len(self.encoders.load_tokenizer(limit.encoder, tokenizer_class)(prompt).input_ids)
        if count <= limit.num_tokens:
            return []
        return [f"the prompt has {count} tokens; this prior reads only the first {limit.num_tokens}"]


def import_transformers() -> Any:
    """Import transformers. Raises MissingExtraError if it is not installed."""
    try:
        import transformers
    except ImportError:
        raise MissingExtraError("transformers", "priors", "a prior with a text encoder") from None
    return transformers


def numbered_part(name: str, number: int) -> str:
    """Return the folder of a numbered part: text_encoder, text_encoder_2, text_encoder_3."""
    return name if number == 1 else f"{name}_{number}"


def tokenize_padded(tokenizer: Any, prompt: str, length: int) -> tuple[Tensor, Tensor]:
    encoded = tokenizer([prompt], padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return encoded.input_ids, encoded.attention_mask


def encode_stable_diffusion(encoders: TextEncoders, prompts: list[str]) -> TextEmbedding:
    return TextEmbedding(encoders.encode_clip(1, prompts, projected=False).last_hidden)


def encode_sdxl(encoders: TextEncoders, prompts: list[str]) -> TextEmbedding:
    """Encode for SDXL; the empty prompt is all zeros if the model index asks for that."""
    first = encoders.encode_clip(1, prompts, projected=False)
    second = encoders.encode_clip(2, prompts, projected=True)
    hidden, pooled = torch.cat([first.penultimate_hidden, second.penultimate_hidden], -1), second.pooled
    if encoders.folder.index().get("force_zeros_for_empty_prompt", True):
        nonempty = torch.tensor([float(prompt != "") for prompt in prompts]).to(hidden)
        hidden, pooled = hidden * nonempty[:, None, None], pooled * nonempty[:, None]
    return TextEmbedding(hidden, pooled)


def encode_deepfloyd(encoders: TextEncoders, prompts: list[str]) -> TextEmbedding:
    """Encode for DeepFloyd IF, which was trained on lower-case prompts."""
    return TextEmbedding(encoders.encode_t5(1, [p.lower().strip() for p in prompts], CLIP_TOKENS, masked=True))


def encode_sd3(encoders: TextEncoders, prompts: list[str]) -> TextEmbedding:
    """Encode for SD3: both CLIP encodings, concatenated and zero-padded to T5's width, then T5's tokens.

    T5 may be missing from the folder; its tokens are then zeros.
    """
    first, second = (encoders.encode_clip(n, prompts, projected=True) for n in (1, 2))
    width = encoders.folder.config("transformer")["joint_attention_dim"]
    clip = torch.cat([first.penultimate_hidden, second.penultimate_hidden], -1)
    clip = F.pad(clip, (0, width - clip.shape[-1]))
    if encoders.folder.has_part("text_encoder_3"):
        t5 = encoders.encode_t5(3, prompts, SD3_T5_TOKENS, masked=False).to(clip)
    else:
        t5 = clip.new_zeros(len(prompts), SD3_T5_TOKENS, width)
    return TextEmbedding(torch.cat([clip, t5], 1), torch.cat([first.pooled, second.pooled], -1))


def encode_flux(encoders: TextEncoders, prompts: list[str]) -> TextEmbedding:
    pooled = encoders.encode_clip(1, prompts, projected=False).pooled
    length = flux_prompt_limit(encoders.folder).num_tokens
    return TextEmbedding(encoders.encode_t5(2, prompts, length, masked=False), pooled)


def clip_prompt_limit(folder: DiffusersFolder) -> PromptLimit:
    return PromptLimit(1, CLIP_TOKENS, is_t5=False)


def t5_prompt_limit(folder: DiffusersFolder) -> PromptLimit:
    return PromptLimit(1, CLIP_TOKENS, is_t5=True)


def sd3_prompt_limit(folder: DiffusersFolder) -> PromptLimit:
    has_t5 = folder.has_part("text_encoder_3")
    return PromptLimit(3, SD3_T5_TOKENS, is_t5=True) if has_t5 else clip_prompt_limit(folder)


def flux_prompt_limit(folder: DiffusersFolder) -> PromptLimit:
    """Return 512 tokens for FLUX.1-dev, 256 for FLUX.1-schnell (which has no guidance embedding)."""
    return PromptLimit(2, 512 if folder.config("transformer").get("guidance_embeds") else 256, is_t5=True)
