"""Protocols of a frozen diffusion prior, and the text embeddings that condition it.

``Prior`` is what score distillation needs of a model. The other protocols are optional abilities; each has one
helper below that asks for it, so callers never test for a concrete class.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeGuard, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.types import InitialVolume, ObjectHeight, Render, SolidField, map_tensors
from dreamfusion3d.memory.checkpointed import Block


@dataclass(frozen=True)
class TextEmbedding:
    """Encoded prompts, one row per image. Only the prior that made a row can interpret it."""

    embedding: Float[Tensor, "b ..."]
    pooled: Float[Tensor, "b d"] | None = None  # one vector per prompt, for networks that take it

    def __len__(self) -> int:
        return self.embedding.shape[0]

    def select(self, rows: slice | Tensor) -> TextEmbedding:
        """Return some of the rows."""
        return map_tensors(self, lambda x: x[rows])

    def repeat(self, count: int) -> TextEmbedding:
        """Repeat each row ``count`` times. A single row is expanded, not copied: do not write to the result."""
        return map_tensors(
            self, lambda x: x.expand(count, *x[0].shape) if len(x) == 1 else x.repeat_interleave(count, 0)
        )

    def to(self, device: torch.device | str) -> TextEmbedding:
        """Return the embedding on another device."""
        return map_tensors(self, lambda x: x.to(device))

    def mix(self, weights: Float[Tensor, "b n"]) -> TextEmbedding:
        """Return one weighted sum of all rows for each row of ``weights``."""
        return map_tensors(self, lambda x: torch.einsum("bn,n...->b...", weights.to(x), x))

    @staticmethod
    def cat(texts: list[TextEmbedding]) -> TextEmbedding:
        """Concatenate the rows of several embeddings."""
        pooled = [t.pooled for t in texts if t.pooled is not None]
        return TextEmbedding(torch.cat([t.embedding for t in texts]), torch.cat(pooled) if pooled else None)

    def conditioning(self, cameras: OrbitCameras) -> Conditioning:
        """Use these rows as prompts: one for all cameras or one per camera, then the unconditional one."""
        batch_size = len(cameras)
        per_camera = len(self) - 1 == batch_size
        prompt = self.select(slice(0, -1)) if per_camera else self.select(slice(0, 1)).repeat(batch_size)
        return Conditioning(prompt, self.select(slice(-1, None)).repeat(batch_size))


@dataclass(frozen=True)
class Conditioning:
    """Text conditioning of a batch of images; each embedding has one row per image."""

    cond: TextEmbedding
    uncond: TextEmbedding
    negatives: tuple[tuple[TextEmbedding, Float[Tensor, " b"]], ...] = ()  # Perp-Neg prompts with a strength per image


@runtime_checkable
class Prompts(Protocol):
    """Encoded prompts of a run. ``TextEmbedding`` and ``ViewPrompts`` implement it."""

    def conditioning(self, cameras: OrbitCameras) -> Conditioning:
        """Return the text conditioning of one image per camera."""


@runtime_checkable
class Prior(Protocol):
    """A frozen diffusion model of images ``x`` in its own space (pixels or latents).

    Times are in [0, 1] and x_t = alpha(t) x_0 + sigma(t) eps. Whatever the network predicts (noise, velocity
    or flow), ``denoise`` returns the predicted x_0.

    Attributes:
        name: Name of the model, recorded in asset.json.
        sha256: Digest of the weights; another digest is another run.
        camera_conditioned: True if ``denoise`` uses the cameras, so that prompts need no view words.

    Example:
        >>> isinstance(load_prior(), Prior)
        True
        >>> alpha, sigma = prior.alpha_sigma(torch.tensor([0.5]))
    """

    name: str
    sha256: str
    camera_conditioned: bool

    def check_prompt(self, prompt: str) -> list[str]:
        """Return warnings for the user. Raises InputError if the prior cannot serve the prompt."""

    def encode_text(self, prompts: list[str]) -> TextEmbedding:
        """Encode one row per prompt; the empty prompt is the unconditional one."""

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]:
        """Return the signal and noise scales of the times ``t``."""

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b c u v"]:
        """Map renders into the prior's space; differentiable."""

    def denoise(
        self,
        x_t: Float[Tensor, "b c u v"],
        t: Float[Tensor, " b"],
        text: TextEmbedding,
        cameras: OrbitCameras,
        *,
        views: int = 1,
    ) -> Float[Tensor, "b c u v"]:
        """Predict x_0. ``views`` consecutive images show one scene; a multi-view prior denoises them jointly."""


@runtime_checkable
class InitialVolumePrior(Protocol):
    """A prior that predicts the mean scene of a prompt before any image exists."""

    def initial_volume(self, text: TextEmbedding, resolution: int) -> InitialVolume:
        """Predict density and base color, and optionally materials, for the first prompt.

        Rendered, they are what the optimal denoiser of pure noise would show.
        """


@runtime_checkable
class SolidPrior(Protocol):
    """A prior that knows the shape and the colors of single objects: an asset without any optimization."""

    def knows_solid(self, prompt: str) -> bool:
        """Return whether `sample_solid` has a shape for the prompt."""

    def check_solid(self, prompt: str) -> list[str]:
        """Return warnings for the user. Raises InputError if the prior knows no shape for the prompt."""

    def sample_solid(self, prompt: str, *, generator: torch.Generator) -> SolidField:
        """Draw one object that the prompt may mean."""


STATED_IN_PROMPT = "the prompt"  # source of a height


@runtime_checkable
class HeightPrior(Protocol):
    """A prior that knows how high the objects of prompts are."""

    def object_height(self, prompt: str) -> ObjectHeight | None:
        """Return the height that the prompt states or its object usually has; None if neither is known.

        Raises InputError if the stated height is implausible, as ``check_prompt`` does.
        """


@dataclass(frozen=True)
class EncoderBlocks:
    """One call of ``Prior.encode`` as a chain of blocks, for any of its images.

    ``blocks(rows)`` computes ``x`` from the ``rgb`` and ``opacity`` of these images. Random numbers have
    already been drawn for all images, as ``encode`` draws them.
    """

    blocks: Callable[[slice], list[Block]]
    parameters: tuple[Tensor, ...]  # all weights that the blocks use


@runtime_checkable
class CheckpointableEncoder(Protocol):
    """A prior whose ``encode`` can be recomputed in part during the backward pass, to save memory."""

    def encode_in_blocks(self, render: Render, *, generator: torch.Generator) -> EncoderBlocks | None:
        """Return ``encode`` as a chain, or None if checkpointing would not pay.

        Only the number and size of the images in ``render`` matter.
        """


@runtime_checkable
class OffloadableWeights(Protocol):
    """Weights of a network that can stay in main memory between calls: same results, but slower."""

    device: torch.device  # that computes

    def set_offloaded(self, offloaded: bool) -> None:
        """Move the weights to main memory, or back to the device."""

    @property
    def nbytes(self) -> int:
        """Bytes of all weights."""

    @property
    def max_layer_bytes(self) -> int:
        """Bytes on the device at a time while the weights are offloaded."""

    def transfer_seconds(self) -> float:
        """Measure the seconds that offloading adds to a call."""


@runtime_checkable
class OffloadablePrior(Protocol):
    """A prior whose network may be offloaded to main memory, unless ``offloadable_weights`` is None."""

    offloadable_weights: OffloadableWeights | None


@runtime_checkable
class MemoryAdvisor(Protocol):
    """A prior with settings that would lower its memory use."""

    def memory_advice(self) -> list[str]:
        """Name the settings to change, e.g. ``["prior.dtype=bfloat16"]``."""


def predicts_initial_volume(prior: Prior) -> TypeGuard[InitialVolumePrior]:
    """Return whether a field can start from the prior's volume; a prior that knows no cameras has none."""
    return isinstance(prior, InitialVolumePrior) and prior.camera_conditioned


def knows_solid(prior: Prior, prompt: str) -> bool:
    """Return whether the prior gives an object for the prompt without any optimization."""
    return isinstance(prior, SolidPrior) and prior.knows_solid(prompt)


def prior_object_height(prior: Prior, prompt: str) -> ObjectHeight | None:
    """Return the height of a prompt's object, or None if the prior does not know it."""
    return prior.object_height(prompt) if isinstance(prior, HeightPrior) else None


def prior_encoder_blocks(prior: Prior, render: Render, generator: torch.Generator) -> EncoderBlocks | None:
    """Return the prior's encoder as a chain of blocks, or None if it is not worth checkpointing."""
    return prior.encode_in_blocks(render, generator=generator) if isinstance(prior, CheckpointableEncoder) else None


def offloadable_weights(prior: Prior, device: torch.device | None = None) -> OffloadableWeights | None:
    """Return the weights of the prior that can be offloaded, or None.

    With ``device``: only if they compute on it and leaving would free memory of its own, i.e. on a GPU.
    """
    weights = prior.offloadable_weights if isinstance(prior, OffloadablePrior) else None
    if weights is None or device is None:
        return weights
    return weights if device.type == "cuda" and weights.device == device else None


def prior_memory_advice(prior: Prior) -> list[str]:
    """Return the prior's settings that would lower memory use, e.g. ``["prior.dtype=bfloat16"]``."""
    return prior.memory_advice() if isinstance(prior, MemoryAdvisor) else []


def network_batch_size(prior: Prior, count: int) -> int:
    """Return how many of ``count`` images the network denoises at a time (the prior's ``batch_size``, if any)."""
    return min(count, getattr(prior, "batch_size", count))
