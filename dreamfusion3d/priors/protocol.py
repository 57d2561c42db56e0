"""What a frozen diffusion prior is to the rest of the package. It knows nothing of SDS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeGuard, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras
from dreamfusion3d.core.types import Render
from dreamfusion3d.memory.checkpointed import Block


@dataclass(frozen=True)
class TextEmbedding:
    """Encoded prompts, one row a picture; what a row holds is the prior's own business."""

    embedding: Float[Tensor, "b ..."]
    pooled: Float[Tensor, "b d"] | None = None  # the sentence as one vector, for networks that take it

    def __len__(self) -> int:
        return self.embedding.shape[0]

    def select(self, rows: slice | Tensor) -> TextEmbedding:
        return TextEmbedding(self.embedding[rows], None if self.pooled is None else self.pooled[rows])

    def repeat(self, count: int) -> TextEmbedding:
        """Each row ``count`` times in a row; not to be changed in place, for a single one is not copied."""

        def times(rows: Tensor) -> Tensor:
            if len(rows) == 1:
                return rows.expand(count, *rows.shape[1:])
            return rows.repeat_interleave(count, 0)

        return TextEmbedding(times(self.embedding), None if self.pooled is None else times(self.pooled))

    def to(self, device: torch.device | str) -> TextEmbedding:
        return TextEmbedding(self.embedding.to(device), None if self.pooled is None else self.pooled.to(device))

    def mix(self, weights: Float[Tensor, "b n"]) -> TextEmbedding:
        """One row for each of ``weights``: the mean of all rows that it weighs."""

        def mixed(rows: Tensor) -> Tensor:
            return torch.einsum("bn,n...->b...", weights.to(rows), rows)

        return TextEmbedding(mixed(self.embedding), None if self.pooled is None else mixed(self.pooled))

    @staticmethod
    def cat(texts: list[TextEmbedding]) -> TextEmbedding:
        pooled = [t.pooled for t in texts if t.pooled is not None]
        return TextEmbedding(torch.cat([t.embedding for t in texts]), torch.cat(pooled) if pooled else None)

    def conditioning(self, cameras: OrbitCameras) -> Conditioning:
        """These rows as prompts: they end with the unconditional one, before which stands one prompt
        for all cameras, or one for each."""
        batch_size = len(cameras)
        per_camera = len(self) - 1 == batch_size
        prompt = self.select(slice(0, -1)) if per_camera else self.select(slice(0, 1)).repeat(batch_size)
        return Conditioning(prompt, self.select(slice(-1, None)).repeat(batch_size))


@dataclass(frozen=True)
class Conditioning:
    """What a batch of pictures is asked: one row a picture in each of its texts."""

    cond: TextEmbedding
    uncond: TextEmbedding
    # pushed away from, across the prompt's direction (Perp-Neg), each picture by its own strength
    negatives: tuple[tuple[TextEmbedding, Float[Tensor, " b"]], ...] = ()


@runtime_checkable
class Prompts(Protocol):
    """Encoded prompts of a run: what each camera is asked. ``Text`` is one, ``ViewPrompts`` another."""

    def conditioning(self, cameras: OrbitCameras) -> Conditioning: ...


@runtime_checkable
class Prior(Protocol):
    """A frozen model of pictures ``x``, in whatever space it works in (pixels, latents).

    Times are in [0, 1]; x_t = alpha(t) x_0 + sigma(t) eps. Whatever the network predicts
    (noise, velocity, flow), ``denoise`` returns the predicted x_0.
    """

    name: str
    sha256: str
    camera_conditioned: bool  # it is told the camera, and needs no words for the view

    def check_prompt(self, prompt: str) -> list[str]:
        """Warnings for the user; InputError when the prompt cannot be served."""
        ...

    def encode_text(self, prompts: list[str]) -> TextEmbedding:
        """One row a prompt; the empty prompt is the unconditional one."""
        ...

    def alpha_sigma(self, t: Float[Tensor, " b"]) -> tuple[Float[Tensor, " b"], Float[Tensor, " b"]]: ...

    def encode(self, render: Render, *, generator: torch.Generator) -> Float[Tensor, "b c u v"]:
        """Pictures of the field in the prior's space, differentiable."""
        ...

    def denoise(
        self,
        x_t: Float[Tensor, "b c u v"],
        t: Float[Tensor, " b"],
        text: TextEmbedding,
        cameras: OrbitCameras,
        *,
        views: int = 1,
    ) -> Float[Tensor, "b c u v"]:
        """Predicted x_0. ``views`` consecutive pictures show one scene: a multi-view prior may
        denoise them jointly, any other ignores it."""
        ...


@runtime_checkable
class InitialVolumePrior(Protocol):
    """A prior that can say, before any picture is made, what the scene of a prompt is on average."""

    def initial_volume(
        self, text: TextEmbedding, resolution: int
    ) -> tuple[Float[Tensor, "r r r"], Float[Tensor, "r r r 3"]]:
        """Extinction per scene unit and base colour in [0, 1] of the first prompt's scene, at samples
        over [-1, 1]^3 with corners, [x, y, z]: what the best denoiser of pure noise would show."""


@dataclass(frozen=True)
class EncoderBlocks:
    """One call of ``encode``, as a chain of blocks for any of its pictures.

    ``blocks(rows)`` lead from ``rgb`` and ``opacity`` of these pictures to ``x``. What is drawn by lot has
    been drawn for all of them, as ``encode`` would have. ``parameters`` are all weights that it uses.
    """

    blocks: Callable[[slice], list[Block]]
    parameters: tuple[Tensor, ...]


@runtime_checkable
class CheckpointableEncoder(Protocol):
    """A prior whose ``encode`` can be computed twice in part, to need less memory."""

    def encode_in_blocks(self, render: Render, *, generator: torch.Generator) -> EncoderBlocks | None:
        """Of ``render``'s pictures only number and size are looked at; None: it is not worth it."""


@runtime_checkable
class OffloadableWeights(Protocol):
    """A network's weights, which may lie in main memory between the questions: same answers, later."""

    device: torch.device  # that computes

    def set_offloaded(self, offloaded: bool) -> None: ...

    @property
    def nbytes(self) -> int: ...

    @property
    def max_layer_bytes(self) -> int:
        """Bytes that are on the device at a time while the weights are away."""

    def transfer_seconds(self) -> float:
        """That a question takes longer then, measured."""


@runtime_checkable
class OffloadablePrior(Protocol):
    """A prior whose network may be sent to main memory; ``placed`` is None where it may not."""

    offloadable_weights: OffloadableWeights | None


def predicts_initial_volume(prior: Prior) -> TypeGuard[InitialVolumePrior]:
    """Whether a field can start from what this prior says: what one view shows is no scene."""
    return isinstance(prior, InitialVolumePrior) and prior.camera_conditioned
