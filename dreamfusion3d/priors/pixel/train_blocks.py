"""A training step of the pixel prior as a chain of blocks, for gradient accumulation and recomputation."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DModel
from torch import Tensor

from dreamfusion3d.memory.checkpoint_plan import RecomputeSchedule, save_all_schedule
from dreamfusion3d.memory.checkpointed import Activations, Block, run_checkpointed
from dreamfusion3d.priors.pixel.losses import (
    PALETTE_WEIGHT,
    NoisyImages,
    PixelPriorLosses,
    PixelPriorNetworks,
    StepRandomness,
    UNetCallable,
    losses_from_prediction,
    palette_loss,
    sample_step_randomness,
    scene_loss,
)
from dreamfusion3d.priors.pixel.unet import (
    ViewAttention,
    bfloat16_autocast,
    pack_unet_input,
    render_scene_condition,
    unpack_unet_output,
)
from dreamfusion3d.procedural.dataset import TrainingBatch, batch_cameras


@dataclass(frozen=True)
class TrainStepContext:
    """Settings of a step; without ``attention`` it trains only the scene."""

    model: PixelPriorNetworks
    scene_weight: float
    alpha_bar: Tensor
    attention: ViewAttention | None = None
    compiled_unet: UNetCallable | None = None  # replaces the U-Net, as a single block
    joint: bool = True  # denoise the views of an object jointly

    @property
    def device(self) -> torch.device:
        """Device of the networks."""
        return next(self.model.parameters()).device

    def sample_randomness(self, batch: TrainingBatch, dropout: float, generator: torch.Generator) -> StepRandomness:
        """Draw the random numbers of a step on ``batch``."""
        num_timesteps = 0 if self.attention is None else len(self.alpha_bar)
        return sample_step_randomness(batch, dropout, num_timesteps, generator=generator, device=self.device)


def backward_in_chunks(
    context: TrainStepContext,
    batch: TrainingBatch,
    randomness: StepRandomness,
    num_chunks: int,
    schedule: RecomputeSchedule | None,
) -> float:
    """Accumulate the gradient of a step over chunks of objects and return its loss.

    All losses are means over objects, except that of the palettes of captions, which is added apart.
    """
    num_objects, views = batch.images.shape[:2]
    chunk_size = -(-num_objects // num_chunks)
    total = 0.0
    for first in range(0, num_objects, chunk_size):
        rows = slice(first, min(first + chunk_size, num_objects))
        chunk, fraction = randomness.select(rows, views), (rows.stop - first) / num_objects
        blocks = train_step_blocks(context, batch.select(rows), chunk, fraction)
        loss = run_checkpointed(blocks, schedule or save_all_schedule(len(blocks)), {})["loss"]
        loss.backward()
        total += float(loss.detach())
        del loss
    if batch.caption_colors is not None:
        weight = 1.0 if context.attention is None else context.scene_weight
        palette_term = weight * PALETTE_WEIGHT * palette_loss(context.model, batch)
        palette_term.backward()
        total += float(palette_term.detach())
    return total


def train_step_blocks(
    context: TrainStepContext, batch: TrainingBatch, randomness: StepRandomness, loss_scale: float = 1.0
) -> list[Block]:
    """Return a chain that ends with ``loss``: ``loss_scale`` times the weighted loss of ``batch``."""
    blocks, compute_losses = _forward_blocks(context, batch, randomness)

    def error(state: Activations) -> Activations:
        return {"loss": loss_scale * compute_losses(state).total(context.scene_weight)}

    consumed = ("volumes", "scene_images", "colors")
    return [*blocks, Block("error", error, consumed if context.attention is None else ("h", *consumed))]


def step_losses(context: TrainStepContext, batch: TrainingBatch, randomness: StepRandomness) -> PixelPriorLosses:
    """Compute the losses of a step without recomputation."""
    blocks, compute_losses = _forward_blocks(context, batch, randomness)
    return compute_losses(run_checkpointed(blocks, save_all_schedule(len(blocks)), {}))


def _forward_blocks(
    context: TrainStepContext, batch: TrainingBatch, randomness: StepRandomness
) -> tuple[list[Block], Callable[[Activations], PixelPriorLosses]]:
    """Return the chain of a step up to its predictions, and the function that computes the losses from them."""
    blocks, noisy_images = _scene_blocks(context, batch, randomness), None
    if context.attention is not None:
        noisy_images = NoisyImages.from_batch(batch, randomness, context.alpha_bar)
        blocks += _denoising_blocks(context, batch, noisy_images)

    def losses(state: Activations) -> PixelPriorLosses:
        scene = state["volumes"], state["scene_images"], state["colors"]
        if noisy_images is None:
            return PixelPriorLosses(scene_loss(context.model, *scene, batch))
        predicted = unpack_unet_output(state["h"], state["scene_images"])
        return losses_from_prediction(context.model, batch, randomness, noisy_images, predicted, *scene)

    return blocks, losses


def _scene_blocks(context: TrainStepContext, batch: TrainingBatch, randomness: StepRandomness) -> list[Block]:
    """Return blocks that predict the scene of each prompt and render it."""
    cameras, size = batch_cameras(batch).to(context.device), batch.images.shape[-2:]

    def predict_scene(_: Activations) -> Activations:
        with bfloat16_autocast(context.device):
            text, volumes, colors = context.model.predict_scene(batch, randomness.prompt_dropped)
        outputs = {"volumes": volumes, "colors": colors}
        return outputs if context.attention is None else {"text": text, **outputs}

    def render_scene(state: Activations) -> Activations:
        return {"scene_images": render_scene_condition(state["volumes"], cameras, *size, jitter=randomness.jitter)}

    return [Block("scene", predict_scene), Block("render", render_scene)]


def _denoising_blocks(context: TrainStepContext, batch: TrainingBatch, noisy_images: NoisyImages) -> list[Block]:
    """Return the blocks of the U-Net, from its inputs to its output ``h``."""
    device, cameras = context.device, batch_cameras(batch).to(context.device)
    x_t, timestep, attention = noisy_images.x_t, noisy_images.timestep, context.attention
    assert attention is not None
    attention.views = batch.images.shape[1] if context.joint else 1
    degrees = [angle.flatten().to(device) for angle in (batch.azimuth_deg, batch.elevation_deg)]

    def unet_input(state: Activations) -> Activations:
        condition = context.model.conditioner(state["text"], *degrees)
        return {"h": pack_unet_input(x_t, state["scene_images"], state["colors"], cameras), "condition": condition}

    if context.compiled_unet is None:
        network_blocks = unet_blocks(context.model.unet, timestep)
    else:
        network = context.compiled_unet

        def run_compiled(state: Activations) -> Activations:
            return {"h": network(state["h"], timestep, class_labels=state["condition"]).sample}

        network_blocks = [Block("unet", run_compiled, ("condition",))]
    blocks = Block("input", unet_input, ("text",)), *network_blocks
    return [Block(block.name, functools.partial(_autocast, block, device), block.consumes) for block in blocks]


def _autocast(block: Block, device: torch.device, state: Activations) -> Activations:
    with bfloat16_autocast(device):
        return block.run(state)


def unet_blocks(unet: UNet2DModel, timestep: Tensor) -> list[Block]:
    """Return the forward pass of a network built by ``build_unet`` as a chain.

    It maps ``h`` (the input) and ``condition`` to ``h`` (the output); the time embedding and the skip connections
    cross the blocks in between.
    """

    def first_block(state: Activations) -> Activations:
        h = state["h"]
        times = timestep * torch.ones(h.shape[0], dtype=timestep.dtype, device=timestep.device)
        emb = unet.time_embedding(unet.time_proj(times).to(dtype=unet.dtype))
        emb = emb + unet.class_embedding(state["condition"]).to(dtype=unet.dtype)
        h = unet.conv_in(h)
        return {"h": h, "emb": emb, "skip0": h}

    blocks, skips = [Block("conv_in", first_block, ("condition",))], ["skip0"]

    def add(name: str, layer: Callable[[Activations], Tensor], keep: str | None = None, consumes: str = "") -> None:
        def run(state: Activations) -> Activations:
            h = layer(state)
            return {"h": h} if keep is None else {"h": h, keep: h}

        blocks.append(Block(name, run, (consumes,) if consumes else ()))

    for depth, down in enumerate(unet.down_blocks):
        attentions = getattr(down, "attentions", [None] * len(down.resnets))
        layers = [_resnet_layer(*modules) for modules in zip(down.resnets, attentions, strict=True)]
        layers += [_sampler_layer(sampler) for sampler in down.downsamplers or []]
        for layer in layers:
            skips.append(f"skip{len(skips)}")
            add(f"down{depth}", layer, keep=skips[-1])
    for resnet in unet.mid_block.resnets:
        add("middle", _resnet_layer(resnet, None))
    for depth, up in enumerate(unet.up_blocks):
        attentions = getattr(up, "attentions", [None] * len(up.resnets))
        for resnet, attention in zip(up.resnets, attentions, strict=True):
            skip = skips.pop()
            add(f"up{depth}", _resnet_layer(resnet, attention, skip), consumes=skip)
        for sampler in up.upsamplers or []:
            add(f"up{depth}", _sampler_layer(sampler))
    add("conv_out", lambda state: unet.conv_out(unet.conv_act(unet.conv_norm_out(state["h"]))), consumes="emb")
    return blocks


def _resnet_layer(resnet: Any, attention: Any, skip: str | None = None) -> Callable[[Activations], Tensor]:
    def run(state: Activations) -> Tensor:
        h = state["h"] if skip is None else torch.cat([state["h"], state[skip]], 1)
        h = resnet(h, state["emb"])
        return h if attention is None else attention(h)

    return run


def _sampler_layer(sampler: Any) -> Callable[[Activations], Tensor]:
    return lambda state: sampler(state["h"])
