"""Training of a pixel prior: a DDPM (Ho et al., arXiv 2006.11239) told prompt and camera.

``train`` is a generator of steps; it owns no data source and prints nothing.
"""

from __future__ import annotations

import copy
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from diffusers import UNet2DModel
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dreamfusion3d.files import replacing, write_json
from dreamfusion3d.prior.conditioner import Conditioner
from dreamfusion3d.prior.unet import (
    ViewAttention,
    attend_across_views,
    autocast,
    build_scheduler,
    build_unet,
    predict,
)
from dreamfusion3d.procedural.dataset import Batch, cameras_of

PEER_SIGMA = 0.97  # noise below which a picture gives away which prop it shows
MakeBatch = Callable[[int, int, torch.Generator], Batch]  # (props, views, generator)


@dataclass(frozen=True)
class TrainConfig:
    pictures: int = 24  # a step
    views: int = 4  # of one prop, denoised jointly
    single_share: float = 0.25  # of the steps that show every picture alone
    learning_rate: float = 6e-4
    weight_decay: float = 0.01
    warm_up: int = 300  # steps
    prompt_dropout: float = 0.1  # share of props shown without their prompt (classifier-free guidance)
    ema_half_life: int = 20_000  # pictures; the average is what is saved
    widths: tuple[int, ...] = (64, 128, 192)
    layers: int = 1


@dataclass(frozen=True)
class TrainStep:
    index: int
    pictures: int  # shown so far, in all runs
    loss: float
    gradient_norm: float


class Trainee(nn.Module):
    """The parts that learn together."""

    def __init__(self, unet: UNet2DModel, conditioner: Conditioner) -> None:
        super().__init__()
        self.unet = unet
        self.conditioner = conditioner


@dataclass
class TrainState:
    """Everything that a run needs to go on: networks, their average, the optimiser, counts."""

    model: Trainee
    average: Trainee
    optimiser: torch.optim.Optimizer
    config: TrainConfig
    step: int = 0
    pictures: int = 0


def new_state(vocabulary: list[str], config: TrainConfig, *, seed: int, device: torch.device) -> TrainState:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unet = build_unet(config.widths, config.layers)
        model = Trainee(unet, Conditioner(vocabulary, 4 * config.widths[0]))
    return _state(model, config, device)


def state_from_folder(
    folder: Path, config: TrainConfig, vocabulary: list[str], *, device: torch.device
) -> TrainState:
    """Start from finished weights (the optimiser's moments begin anew), with the tokens of
    ``vocabulary`` that they do not know yet."""
    unet = UNet2DModel.from_pretrained(folder / "unet", use_safetensors=True, torch_dtype=torch.float32)
    conditioner = Conditioner.load(folder / "conditioner").extended(vocabulary)
    state = _state(Trainee(unet, conditioner), config, device)
    record = folder / "training.json"
    if record.exists():
        state.pictures = int(json.loads(record.read_text()).get("pictures", 0))
    return state


def _state(model: Trainee, config: TrainConfig, device: torch.device) -> TrainState:
    # the stubs of Module.to know memory_format only as a keyword of a single tensor
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, betas=(0.9, 0.99), weight_decay=config.weight_decay
    )
    average = copy.deepcopy(model).requires_grad_(False)
    return TrainState(model, average, optimiser, config)


def train(
    state: TrainState, make_batch: MakeBatch, *, steps: int, cool_share: float = 0.0,
    generator: torch.Generator,
) -> Iterator[TrainStep]:
    """Run ``steps`` more steps, yielding after each.

    Over the last ``cool_share`` of them the rate falls linearly to nothing: the noise of a
    constant rate is most of what separates the last weights from better ones.
    """
    config = state.config
    device = next(state.model.parameters()).device
    attention = attend_across_views(state.model.unet)
    alpha_bar = build_scheduler().alphas_cumprod.to(device)
    for turn in range(steps):
        views = 1 if float(torch.rand((), generator=generator)) < config.single_share else config.views
        batch = make_batch(config.pictures // views, views, generator)
        loss = velocity_loss(
            state.model, attention, alpha_bar, batch, config.prompt_dropout, generator=generator
        )
        for group in state.optimiser.param_groups:
            warm = min(1.0, (state.step + 1) / config.warm_up)
            cool = min(1.0, (steps - turn) / max(cool_share * steps, 1.0))
            group["lr"] = config.learning_rate * warm * cool
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(state.model.parameters(), 1.0)
        value = float(loss.detach())
        if math.isfinite(value) and math.isfinite(float(norm)):
            state.optimiser.step()
            state.step += 1
            state.pictures += config.pictures
            _update_average(state)
        yield TrainStep(state.step, state.pictures, value, float(norm))


def velocity_loss(
    model: Trainee, attention: ViewAttention, alpha_bar: Tensor, batch: Batch, dropout: float,
    *, generator: torch.Generator,
) -> Tensor:
    """Mean squared error of v = alpha eps - sigma x0 (Salimans and Ho, arXiv 2202.00512).

    All views of a prop share one noise level, and lose their prompt together. Where noise hides
    which of its peers a prop is, the target is the mean of all that it may be (``_targets``).
    """
    device = alpha_bar.device
    props, views = batch.pictures.shape[:2]
    x0 = batch.pictures.flatten(0, 1).to(device)
    timestep = _timesteps(props, len(alpha_bar), generator).repeat_interleave(views).to(device)
    noise = torch.randn(x0.shape, generator=generator).to(device)
    alpha = alpha_bar[timestep].sqrt().view(-1, 1, 1, 1)
    sigma = (1 - alpha_bar[timestep]).sqrt().view(-1, 1, 1, 1)
    dropped = torch.rand(props, generator=generator) < dropout
    prompts = zip(batch.captions, dropped, strict=True)
    rows = [[0] if gone else model.conditioner.rows(tokens) for tokens, gone in prompts]
    with autocast(device):
        text = model.conditioner.embed(rows).repeat_interleave(views, 0)
        condition = model.conditioner(
            text, batch.azimuth_deg.flatten().to(device), batch.elevation_deg.flatten().to(device)
        )
        velocity = predict(
            model.unet, attention, alpha * x0 + sigma * noise, timestep, condition,
            cameras_of(batch).to(device), views=views,
        )
    return (velocity.float() - _targets(batch, x0, noise, alpha, sigma)).square().mean()


@torch.no_grad()
def validation_loss(model: Trainee, batches: Sequence[Batch], config: TrainConfig, *, seed: int = 0) -> float:
    """The loss on fixed pictures with fixed noise and times: what two trainings can be compared by."""
    device = next(model.parameters()).device
    attention = attend_across_views(model.unet)
    alpha_bar = build_scheduler().alphas_cumprod.to(device)
    generator = torch.Generator().manual_seed(seed)
    losses = [
        float(velocity_loss(model, attention, alpha_bar, batch, config.prompt_dropout, generator=generator))
        for batch in batches
    ]
    return sum(losses) / len(losses)


def _targets(batch: Batch, x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """v of E[x0 | x_t] over each prop's peers, where that differs from the v of the prop itself.

    The prop is one of its peers at random, so both targets teach the same denoiser; but this
    one does not change with the draw, and a small batch learns from it what otherwise drowns
    in the variety of shapes: on which side the handle is (stable target field, Xu et al.,
    arXiv 2302.00670).
    """
    targets = alpha * noise - sigma * x0
    views = batch.pictures.shape[1]
    for i, peers in enumerate(batch.peers):
        rows = slice(i * views, (i + 1) * views)
        a, s = alpha[i * views, 0, 0, 0], sigma[i * views, 0, 0, 0]
        if len(peers) == 1 or s < PEER_SIGMA:
            continue
        known = peers.to(x0.device)
        x_t = a * x0[rows] + s * noise[rows]
        misfit = (x_t - a * known).square().flatten(1).sum(1)
        mean = torch.einsum("k,kvchw->vchw", (-misfit / (2 * s * s)).softmax(0), known)
        targets[rows] = a * (x_t - a * mean) / s - s * mean
    return targets


def _timesteps(count: int, levels: int, generator: torch.Generator) -> Tensor:
    """Noise levels: half uniform, the rest from the noisiest fifth and its end.

    Below it the picture itself shows the side that it is seen from; only above it must the
    camera and the prompt decide, and distillation builds the shape from what is said there.
    """
    uniform, draw = torch.rand(2, count, generator=generator)
    low = torch.where(draw < 0.2, 0.97, torch.where(draw < 0.5, 0.8, 0.0))
    return ((low + (1 - low) * uniform) * levels).long().clamp(max=levels - 1)


@torch.no_grad()
def _update_average(state: TrainState) -> None:
    # the half life grows with the run, so that the average forgets the random start at once
    half_life = min(state.config.ema_half_life, state.step * state.config.pictures / 4)
    decay = 0.5 ** (state.config.pictures / max(half_life, 1.0))
    pairs = zip(state.average.parameters(), state.model.parameters(), strict=True)
    averages, values = zip(*pairs, strict=True)
    torch._foreach_lerp_(list(averages), list(values), 1 - decay)


def save_folder(state: TrainState, folder: Path, **record: object) -> None:
    """The averaged weights as a diffusers folder, in half precision."""
    unet = copy.deepcopy(state.average.unet).half()
    unet.save_pretrained(folder / "unet", safe_serialization=True)
    config = json.loads((folder / "unet" / "config.json").read_text())
    config.pop("_name_or_path", None)  # where the weights that training began from lie is nobody's business
    write_json(folder / "unet" / "config.json", config)
    state.average.conditioner.save(folder / "conditioner")
    build_scheduler().save_pretrained(folder / "scheduler")
    write_json(folder / "training.json", {"pictures": state.pictures, "steps": state.step,
                                          "config": asdict(state.config), **record})
    write_json(folder / "model_index.json", {
        "_class_name": "PixelPrior", "unet": ["diffusers", "UNet2DModel"],
        "scheduler": ["diffusers", "DDPMScheduler"], "conditioner": ["dreamfusion3d", "Conditioner"],
    })


def save_checkpoint(state: TrainState, path: Path) -> None:
    """Everything, in one safetensors file."""
    tensors = {f"model.{k}": v for k, v in state.model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in state.average.state_dict().items()}
    for i, slots in state.optimiser.state_dict()["state"].items():
        tensors |= {f"optimiser.{i}.{name}": v for name, v in slots.items()}
    counts = {"step": str(state.step), "pictures": str(state.pictures), "time": str(int(time.time()))}
    with replacing(path) as temporary:
        save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, metadata=counts)


def load_checkpoint(state: TrainState, path: Path) -> bool:
    """Take up a checkpoint; False when there is none or it is damaged."""
    from safetensors import safe_open

    try:
        with safe_open(path, framework="pt") as stream:
            counts = stream.metadata()
        tensors = load_file(path)
    except (FileNotFoundError, SafetensorError):
        return False
    for name, module in (("model", state.model), ("average", state.average)):
        prefix = name + "."
        module.load_state_dict({k[len(prefix):]: v for k, v in tensors.items() if k.startswith(prefix)})
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith("optimiser."):
            _, index, name = key.split(".")
            slots.setdefault(int(index), {})[name] = value
    whole = state.optimiser.state_dict()
    state.optimiser.load_state_dict({"state": slots, "param_groups": whole["param_groups"]})
    state.step, state.pictures = int(counts["step"]), int(counts["pictures"])
    return True
