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

from dreamfusion3d.memory.checkpoint_plan import Schedule, keep_all
from dreamfusion3d.memory.checkpointed import Block, State, execute
from dreamfusion3d.priors.pixel.losses import (
    PAINTS,
    Draws,
    Network,
    Noisy,
    Trainee,
    errors,
    paint_error,
    scene_error,
)
from dreamfusion3d.priors.pixel.unet import ViewAttention, after_unet, autocast, before_unet, look
from dreamfusion3d.procedural.dataset import Batch, cameras_of


@dataclass(frozen=True)
class Lesson:
    """What all pieces of a step share; without ``attention`` it is one in which the scene learns alone."""

    model: Trainee
    scene_weight: float
    attention: ViewAttention | None = None
    alpha_bar: Tensor | None = None
    network: Network | None = None  # stands in for the U-Net, as one block: compiled
    joint: bool = True

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device


def backward(lesson: Lesson, batch: Batch, drawn: Draws, pieces: int, schedule: Schedule | None) -> float:
    """Adds the gradient of the step's loss to the parameters'; the loss.

    Every loss is a mean over props, but that of the paints, which are of no prop.
    """
    props, views = batch.pictures.shape[:2]
    size = -(-props // pieces)
    total = 0.0
    for first in range(0, props, size):
        rows = slice(first, min(first + size, props))
        blocks = blocks_of(lesson, batch.part(rows), drawn.part(rows, views), (rows.stop - first) / props)
        loss = execute(blocks, schedule or keep_all(len(blocks)), {})["loss"]
        loss.backward()
        total += float(loss.detach())
        del loss
    if batch.paints is not None:
        weight = 1.0 if lesson.attention is None else lesson.scene_weight
        paints = weight * PAINTS * paint_error(lesson.model, batch)
        paints.backward()
        total += float(paints.detach())
    return total


def blocks_of(lesson: Lesson, batch: Batch, drawn: Draws, share: float = 1.0) -> list[Block]:
    """A chain from nothing to ``loss``, ``share`` times that of the pictures of ``batch``."""
    blocks = _seeing(lesson, batch, drawn)
    if lesson.attention is None:
        def alone(state: State) -> State:
            return {"loss": share * scene_error(state["volumes"], state["seen"], state["colours"], batch)}

        return [*blocks, Block("error", alone, ("volumes", "seen", "colours"))]
    assert lesson.alpha_bar is not None
    noisy = Noisy.of(batch, drawn, lesson.alpha_bar)
    blocks += _denoising(lesson, batch, noisy)

    def error(state: State) -> State:
        predicted = after_unet(state["h"], state["seen"])
        both = errors(
            lesson.model, batch, drawn, noisy, predicted, state["volumes"], state["seen"], state["colours"]
        )
        return {"loss": share * (both.picture + both.lights + lesson.scene_weight * both.scene)}

    return [*blocks, Block("error", error, ("h", "volumes", "seen", "colours"))]


def _seeing(lesson: Lesson, batch: Batch, drawn: Draws) -> list[Block]:
    """The scene of each prompt, and what the cameras see of it."""
    cameras, size = cameras_of(batch).to(lesson.device), batch.pictures.shape[-2:]

    def imagine(_: State) -> State:
        with autocast(lesson.device):
            text, volumes, colours = lesson.model.imagine(batch, drawn.dropped)
        made = {"volumes": volumes, "colours": colours}
        return made if lesson.attention is None else {"text": text, **made}

    def seen(state: State) -> State:
        return {"seen": look(state["volumes"], cameras, *size, shift=drawn.shift)}

    return [Block("scene", imagine), Block("look", seen)]


def _denoising(lesson: Lesson, batch: Batch, noisy: Noisy) -> list[Block]:
    """The U-Net, from what it is shown to its answer ``h``."""
    device, cameras = lesson.device, cameras_of(batch).to(lesson.device)
    x_t, timestep, attention = noisy.x_t, noisy.timestep, lesson.attention
    assert attention is not None
    attention.views = batch.pictures.shape[1] if lesson.joint else 1
    degrees = [angle.flatten().to(device) for angle in (batch.azimuth_deg, batch.elevation_deg)]

    def shown(state: State) -> State:
        condition = lesson.model.conditioner(state["text"], *degrees)
        return {"h": before_unet(x_t, state["seen"], state["colours"], cameras), "condition": condition}

    if lesson.network is None:
        inner = unet_blocks(lesson.model.unet, timestep)
    else:
        network = lesson.network

        def whole(state: State) -> State:
            return {"h": network(state["h"], timestep, class_labels=state["condition"]).sample}

        inner = [Block("unet", whole, ("condition",))]
    return [
        Block(block.name, _cast(block.run, device), block.ends)
        for block in (Block("shown", shown, ("text",)), *inner)
    ]


def _cast(run: Callable[[State], State], device: torch.device) -> Callable[[State], State]:
    def in_its_precision(state: State) -> State:
        with autocast(device):
            return run(state)

    return in_its_precision


def unet_blocks(unet: UNet2DModel, timestep: Tensor) -> list[Block]:
    """The forward pass of a network of ``unet.build_unet``'s form as a chain: from ``h``, the pictures,
    and ``condition`` to ``h``, its answer. Between them cross the embedding and the skip connections."""
    def begin(state: State) -> State:
        h = state["h"]
        times = timestep * torch.ones(h.shape[0], dtype=timestep.dtype, device=timestep.device)
        emb = unet.time_embedding(unet.time_proj(times).to(dtype=unet.dtype))
        emb = emb + unet.class_embedding(state["condition"]).to(dtype=unet.dtype)
        h = unet.conv_in(h)
        return {"h": h, "emb": emb, "skip0": h}

    blocks, skips = [Block("conv_in", begin, ("condition",))], 1
    for depth, down in enumerate(unet.down_blocks):
        attentions = getattr(down, "attentions", [None] * len(down.resnets))
        layers: list[Callable[[State], Tensor]] = [
            functools.partial(_resnet, resnet, attention)
            for resnet, attention in zip(down.resnets, attentions, strict=True)
        ]
        layers += [functools.partial(_resampled, sampler) for sampler in down.downsamplers or []]
        for layer in layers:
            blocks.append(Block(f"down{depth}", functools.partial(_with_skip, layer, f"skip{skips}")))
            skips += 1
    for resnet in unet.mid_block.resnets:
        blocks.append(Block("middle", functools.partial(_plain, functools.partial(_resnet, resnet, None))))
    for depth, up in enumerate(unet.up_blocks):
        attentions = getattr(up, "attentions", [None] * len(up.resnets))
        for resnet, attention in zip(up.resnets, attentions, strict=True):
            skips -= 1
            joined = functools.partial(_joined, resnet, attention, f"skip{skips}")
            blocks.append(Block(f"up{depth}", functools.partial(_plain, joined), (f"skip{skips}",)))
        for sampler in up.upsamplers or []:
            blocks.append(Block(f"up{depth}", functools.partial(
                _plain, functools.partial(_resampled, sampler))))

    def end(state: State) -> Tensor:
        return unet.conv_out(unet.conv_act(unet.conv_norm_out(state["h"])))

    return [*blocks, Block("conv_out", functools.partial(_plain, end), ("emb",))]


def _plain(layer: Callable[[State], Tensor], state: State) -> State:
    return {"h": layer(state)}


def _with_skip(layer: Callable[[State], Tensor], name: str, state: State) -> State:
    h = layer(state)
    return {"h": h, name: h}


def _resnet(resnet: Any, attention: Any, state: State) -> Tensor:
    h = resnet(state["h"], state["emb"])
    return h if attention is None else attention(h)


def _joined(resnet: Any, attention: Any, skip: str, state: State) -> Tensor:
    h = torch.cat([state["h"], state[skip]], 1)
    return _resnet(resnet, attention, {"h": h, "emb": state["emb"]})


def _resampled(sampler: Any, state: State) -> Tensor:
    return sampler(state["h"])
