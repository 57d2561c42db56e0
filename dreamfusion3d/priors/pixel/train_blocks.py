"""The gradient of a training step in pieces: some props at a time, and of these as blocks of a chain that
may be run twice. It is the one of ``losses.losses``, in another order of sums."""

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
    PixelPriorNetworks,
    StepRandomness,
    UNetCallable,
    losses_from_prediction,
    palette_loss,
    scene_render_loss,
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
    """What all pieces of a step share; without ``attention`` it is one in which the scene learns alone."""

    model: PixelPriorNetworks
    scene_weight: float
    attention: ViewAttention | None = None
    alpha_bar: Tensor | None = None
    compiled_unet: UNetCallable | None = None  # stands in for the U-Net, as one block: compiled
    joint: bool = True

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def backward_in_chunks(
    context: TrainStepContext,
    batch: TrainingBatch,
    randomness: StepRandomness,
    num_chunks: int,
    schedule: RecomputeSchedule | None,
) -> float:
    """Adds the gradient of the step's loss to the parameters'; the loss.

    Every loss is a mean over props, but that of the paints, which are of no prop.
    """
    num_objects, views = batch.images.shape[:2]
    chunk_size = -(-num_objects // num_chunks)
    total = 0.0
    for first in range(0, num_objects, chunk_size):
        rows = slice(first, min(first + chunk_size, num_objects))
        blocks = train_step_blocks(
            context, batch.select(rows), randomness.select(rows, views), (rows.stop - first) / num_objects
        )
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
    """A chain from nothing to ``loss``, ``share`` times that of the pictures of ``batch``."""
    blocks = _scene_blocks(context, batch, randomness)
    if context.attention is None:

        def scene_only_error(state: Activations) -> Activations:
            return {"loss": loss_scale * scene_render_loss(state["volumes"], state["seen"], state["colours"], batch)}

        return [*blocks, Block("error", scene_only_error, ("volumes", "seen", "colours"))]
    assert context.alpha_bar is not None
    noisy_images = NoisyImages.from_batch(batch, randomness, context.alpha_bar)
    blocks += _denoising_blocks(context, batch, noisy_images)

    def error(state: Activations) -> Activations:
        predicted = unpack_unet_output(state["h"], state["seen"])
        parts = losses_from_prediction(
            context.model, batch, randomness, noisy_images, predicted, state["volumes"], state["seen"], state["colours"]
        )
        return {"loss": loss_scale * (parts.image + parts.shading + context.scene_weight * parts.scene)}

    return [*blocks, Block("error", error, ("h", "volumes", "seen", "colours"))]


def _scene_blocks(context: TrainStepContext, batch: TrainingBatch, randomness: StepRandomness) -> list[Block]:
    """The scene of each prompt, and what the cameras see of it."""
    cameras, size = batch_cameras(batch).to(context.device), batch.images.shape[-2:]

    def predict_scene(_: Activations) -> Activations:
        with bfloat16_autocast(context.device):
            text, volumes, colors = context.model.predict_scene(batch, randomness.prompt_dropped)
        outputs = {"volumes": volumes, "colours": colors}
        return outputs if context.attention is None else {"text": text, **outputs}

    def render_scene(state: Activations) -> Activations:
        return {"seen": render_scene_condition(state["volumes"], cameras, *size, jitter=randomness.jitter)}

    return [Block("scene", predict_scene), Block("look", render_scene)]


def _denoising_blocks(context: TrainStepContext, batch: TrainingBatch, noisy_images: NoisyImages) -> list[Block]:
    """The U-Net, from what it is shown to its answer ``h``."""
    device, cameras = context.device, batch_cameras(batch).to(context.device)
    x_t, timestep, attention = noisy_images.x_t, noisy_images.timestep, context.attention
    assert attention is not None
    attention.views = batch.images.shape[1] if context.joint else 1
    degrees = [angle.flatten().to(device) for angle in (batch.azimuth_deg, batch.elevation_deg)]

    def unet_input(state: Activations) -> Activations:
        condition = context.model.conditioner(state["text"], *degrees)
        return {"h": pack_unet_input(x_t, state["seen"], state["colours"], cameras), "condition": condition}

    if context.compiled_unet is None:
        network_blocks = unet_blocks(context.model.unet, timestep)
    else:
        network = context.compiled_unet

        def run_compiled(state: Activations) -> Activations:
            return {"h": network(state["h"], timestep, class_labels=state["condition"]).sample}

        network_blocks = [Block("unet", run_compiled, ("condition",))]
    return [
        Block(block.name, _with_autocast(block.run, device), block.consumes)
        for block in (Block("shown", unet_input, ("text",)), *network_blocks)
    ]


def _with_autocast(
    run: Callable[[Activations], Activations], device: torch.device
) -> Callable[[Activations], Activations]:
    def run_in_autocast(state: Activations) -> Activations:
        with bfloat16_autocast(device):
            return run(state)

    return run_in_autocast


def unet_blocks(unet: UNet2DModel, timestep: Tensor) -> list[Block]:
    """The forward pass of a network of ``unet.build_unet``'s form as a chain: from ``h``, the pictures,
    and ``condition`` to ``h``, its answer. Between them cross the embedding and the skip connections."""

    def first_block(state: Activations) -> Activations:
        h = state["h"]
        times = timestep * torch.ones(h.shape[0], dtype=timestep.dtype, device=timestep.device)
        emb = unet.time_embedding(unet.time_proj(times).to(dtype=unet.dtype))
        emb = emb + unet.class_embedding(state["condition"]).to(dtype=unet.dtype)
        h = unet.conv_in(h)
        return {"h": h, "emb": emb, "skip0": h}

    blocks, skips = [Block("conv_in", first_block, ("condition",))], 1
    for depth, down in enumerate(unet.down_blocks):
        attentions = getattr(down, "attentions", [None] * len(down.resnets))
        layers: list[Callable[[Activations], Tensor]] = [
            functools.partial(_run_resnet, resnet, attention)
            for resnet, attention in zip(down.resnets, attentions, strict=True)
        ]
        layers += [functools.partial(_run_sampler, sampler) for sampler in down.downsamplers or []]
        for layer in layers:
            blocks.append(Block(f"down{depth}", functools.partial(_run_layer_and_store_skip, layer, f"skip{skips}")))
            skips += 1
    for resnet in unet.mid_block.resnets:
        blocks.append(Block("middle", functools.partial(_run_layer, functools.partial(_run_resnet, resnet, None))))
    for depth, up in enumerate(unet.up_blocks):
        attentions = getattr(up, "attentions", [None] * len(up.resnets))
        for resnet, attention in zip(up.resnets, attentions, strict=True):
            skips -= 1
            run = functools.partial(_run_resnet_with_skip, resnet, attention, f"skip{skips}")
            blocks.append(Block(f"up{depth}", functools.partial(_run_layer, run), (f"skip{skips}",)))
        for sampler in up.upsamplers or []:
            blocks.append(Block(f"up{depth}", functools.partial(_run_layer, functools.partial(_run_sampler, sampler))))

    def last_layer(state: Activations) -> Tensor:
        return unet.conv_out(unet.conv_act(unet.conv_norm_out(state["h"])))

    return [*blocks, Block("conv_out", functools.partial(_run_layer, last_layer), ("emb",))]


def _run_layer(layer: Callable[[Activations], Tensor], state: Activations) -> Activations:
    return {"h": layer(state)}


def _run_layer_and_store_skip(layer: Callable[[Activations], Tensor], name: str, state: Activations) -> Activations:
    h = layer(state)
    return {"h": h, name: h}


def _run_resnet(resnet: Any, attention: Any, state: Activations) -> Tensor:
    h = resnet(state["h"], state["emb"])
    return h if attention is None else attention(h)


def _run_resnet_with_skip(resnet: Any, attention: Any, skip: str, state: Activations) -> Tensor:
    h = torch.cat([state["h"], state[skip]], 1)
    return _run_resnet(resnet, attention, {"h": h, "emb": state["emb"]})


def _run_sampler(sampler: Any, state: Activations) -> Tensor:
    return sampler(state["h"])
