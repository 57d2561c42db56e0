"""What the parts of a pixel prior learn from: clear pictures behind noisy ones, and their mean."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from dreamfusion3d.priors.pixel.conditioner import Conditioner
from dreamfusion3d.priors.pixel.scene_volume import PALETTE, Scene, nearby, shifts, solidity
from dreamfusion3d.priors.pixel.unet import (
    SCENE_SCALE,
    Predicted,
    ViewAttention,
    autocast,
    look,
    painted,
    predict,
)
from dreamfusion3d.procedural.dataset import Batch, cameras_of, means

MOST = 5.0  # weight of a picture's error
LIGHTS = 1.0  # weight of the errors of the parts' lights against the pictures'
REST = 0.3  # of what a picture that was told its prompt has of no colour of the prompt's
PAINTS = 1.0  # of the palettes' errors
SOLID = 10.0  # of the errors of what the scene's cells are filled with: most cells are empty, and right
PEER_SIGMA = 0.97  # noise below which a picture gives away which prop it shows


Network = Callable[..., Any]  # a UNet2DModel, or what stands in for it


class Trainee(nn.Module):
    """The parts that learn together."""

    def __init__(self, unet: UNet2DModel, conditioner: Conditioner, scene: Scene) -> None:
        super().__init__()
        self.unet = unet
        self.conditioner = conditioner
        self.scene = scene

    def imagine(
        self, batch: Batch, dropped: Tensor
    ) -> tuple[Float[Tensor, "b d"], Float[Tensor, "b v z y x"], Float[Tensor, "b p 3"]]:
        """The prompt's vector, the scene's volume and its colours, for every picture; of no prompt
        where it is dropped."""
        prompts: list[list[str]] = [
            [] if gone else tokens for tokens, gone in zip(batch.captions, dropped, strict=True)
        ]
        told = self.conditioner
        text = told.embed([told.rows(tokens) for tokens in prompts])
        volumes = self.scene(told.embed([told.shape_rows(tokens) for tokens in prompts]))
        views = batch.pictures.shape[1]
        row = torch.arange(len(text), device=text.device).repeat_interleave(views)
        return text[row], volumes[row], self.scene.colours(text)[row]


@dataclass(frozen=True)
class Draws:
    """All that a step draws by lot beside its batch, so that a part of it can be taken twice."""

    dropped: Bool[Tensor, " g"]  # props shown without their prompt
    shift: Float[Tensor, "b 1 hs ws"]  # of the scene's samples
    timestep: Int64[Tensor, " b"] | None = None
    noise: Float[Tensor, "b 4 h w"] | None = None

    def part(self, rows: slice, views: int) -> Draws:
        """Those of some props."""
        b = slice(rows.start * views, rows.stop * views)
        timestep = None if self.timestep is None else self.timestep[b]
        noise = None if self.noise is None else self.noise[b]
        return Draws(self.dropped[rows], self.shift[b], timestep, noise)


def draw(
    batch: Batch, dropout: float, levels: int, *, generator: torch.Generator, device: torch.device
) -> Draws:
    """Of a step of pictures, with ``levels`` levels of noise; 0: of one in which the scene learns alone."""
    props, views, channels, height, width = batch.pictures.shape
    shape, timestep, noise = (props * views, channels, height, width), None, None
    if levels:
        timestep = timesteps(props, levels, generator).repeat_interleave(views).to(device)
        noise = torch.randn(shape, generator=nearby(generator, device), device=device)
    dropped = torch.rand(props, generator=generator) < dropout
    size = height // SCENE_SCALE, width // SCENE_SCALE
    return Draws(
        dropped, shifts(props * views, *size, generator=generator, device=device), timestep, noise
    )


@dataclass(frozen=True)
class Losses:
    picture: Float[Tensor, ""]
    lights: Float[Tensor, ""]  # of the light of each colour, and of what is of none of them
    scene: Float[Tensor, ""]  # of the scene's picture and palette


def losses(
    model: Trainee, attention: ViewAttention, alpha_bar: Tensor, batch: Batch, dropout: float,
    *, generator: torch.Generator, network: Network | None = None, joint: bool = True,
) -> Losses:
    """Mean squared errors of the predicted x_0, of what it is made of (where the batch knows), and of
    the scene that the U-Net is shown.

    The first two are weighted by 1 / sigma^2 as the error of a predicted velocity is (Salimans and Ho,
    arXiv 2202.00512, section 4), but never by more than MOST (as Hang et al., arXiv 2303.09556, do).

    All views of a prop share one noise level, and lose their prompt together. Where noise hides
    which of its peers a prop is, the target is the mean of all that it may be (``targets``).
    Unless ``joint`` each picture is denoised alone. ``network`` stands in for the model's U-Net: the
    same, compiled.
    """
    device = alpha_bar.device
    drawn = draw(batch, dropout, len(alpha_bar), generator=generator, device=device)
    noisy, cameras = Noisy.of(batch, drawn, alpha_bar), cameras_of(batch).to(device)
    views = batch.pictures.shape[1]
    with autocast(device):
        text, volumes, colours = model.imagine(batch, drawn.dropped)
        seen = look(volumes, cameras, *noisy.x0.shape[-2:], shift=drawn.shift)
        condition = model.conditioner(
            text, batch.azimuth_deg.flatten().to(device), batch.elevation_deg.flatten().to(device)
        )
        predicted = predict(
            model.unet if network is None else network, attention, noisy.x_t, noisy.timestep,
            seen, colours, condition, cameras, views=views if joint else 1,
        )
    return errors(model, batch, drawn, noisy, predicted, volumes, seen, colours)


@dataclass(frozen=True)
class Noisy:
    """The pictures behind noise."""

    x0: Float[Tensor, "b 4 h w"]
    noise: Float[Tensor, "b 4 h w"]
    timestep: Int64[Tensor, " b"]
    alpha: Float[Tensor, "b 1 1 1"]
    sigma: Float[Tensor, "b 1 1 1"]

    @staticmethod
    def of(batch: Batch, drawn: Draws, alpha_bar: Tensor) -> Noisy:
        assert drawn.timestep is not None and drawn.noise is not None
        alpha = alpha_bar[drawn.timestep].sqrt().view(-1, 1, 1, 1)
        sigma = (1 - alpha_bar[drawn.timestep]).sqrt().view(-1, 1, 1, 1)
        x0 = batch.pictures.flatten(0, 1).to(alpha_bar.device)
        return Noisy(x0, drawn.noise, drawn.timestep, alpha, sigma)

    @property
    def x_t(self) -> Float[Tensor, "b 4 h w"]:
        return self.alpha * self.x0 + self.sigma * self.noise


def errors(
    model: Trainee, batch: Batch, drawn: Draws, noisy: Noisy, predicted: Predicted,
    volumes: Float[Tensor, "b v z y x"], seen: Float[Tensor, "b c hs ws"], colours: Float[Tensor, "b p 3"],
) -> Losses:
    """The losses of what was predicted."""
    views, device = batch.pictures.shape[1], noisy.x0.device
    picture, lights = targets(batch, noisy.x0, noisy.noise, noisy.alpha, noisy.sigma)
    weight = noisy.sigma.pow(-2).clamp(max=MOST)
    told = ~drawn.dropped.repeat_interleave(views).view(-1, 1, 1, 1).to(device)
    made = REST * (told * weight * (2 * predicted.rest).square()).mean()
    if lights is not None:
        made = made + LIGHTS * (weight * (2 * (predicted.lights - lights)).square()).mean()
    return Losses(
        (weight * (predicted.picture(colours) - picture).square()).mean(), made,
        scene_error(volumes, seen, colours, batch) + PAINTS * paint_error(model, batch),
    )


def scene_loss(model: Trainee, batch: Batch, dropout: float, *, generator: torch.Generator) -> Tensor:
    """Mean squared error of the scene's pictures and palettes: what a prior says of pictures that are all
    noise."""
    device = next(model.parameters()).device
    drawn = draw(batch, dropout, 0, generator=generator, device=device)
    with autocast(device):
        _, volumes, colours = model.imagine(batch, drawn.dropped)
    seen = look(volumes, cameras_of(batch).to(device), *batch.pictures.shape[-2:], shift=drawn.shift)
    return scene_error(volumes, seen, colours, batch) + PAINTS * paint_error(model, batch)


def scene_error(
    volumes: Float[Tensor, "b v z y x"], seen: Float[Tensor, "b c h w"], colours: Float[Tensor, "b p 3"],
    batch: Batch,
) -> Tensor:
    """Against the mean over each prop's peers: the target's expectation is the same, its noise less.

    Where the batch knows what is inside of a prop, the volume is told: pictures leave solid what no
    camera looks into, and a jug would stay full to its brim."""
    def mean(of: list[Tensor]) -> Tensor:
        return F.avg_pool2d(means(of).flatten(0, 1), SCENE_SCALE)

    lights, opacity = seen[:, :PALETTE], seen[:, PALETTE : PALETTE + 1]
    picture = torch.cat([2 * painted(lights, colours) - 1, opacity], 1)
    error = (picture - mean(batch.peers or list(batch.pictures[:, None])).to(seen.device)).square().mean()
    if batch.solids is not None:
        views = batch.pictures.shape[1]
        error = error + SOLID * (solidity(volumes[::views]) - batch.solids.to(seen.device)).square().mean()
    if not batch.peer_lights:
        return error
    return error + LIGHTS * (2 * (lights - mean(batch.peer_lights).to(seen.device))).square().mean()


def paint_error(model: Trainee, batch: Batch) -> Tensor:
    """Of the palettes alone: thousands of captions say their colours before many pictures are seen."""
    if batch.paints is None:
        return torch.zeros((), device=next(model.parameters()).device)
    told = model.conditioner
    text = told.embed([told.rows(tokens) for tokens in batch.paints.captions])
    return (2 * (model.scene.colours(text) - batch.paints.colours.to(text.device))).square().mean()


def targets(
    batch: Batch, x0: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor
) -> tuple[Float[Tensor, "b 4 h w"], Float[Tensor, "b p h w"] | None]:
    """E[x0 | x_t] over each prop's peers, where that differs from the prop itself; and of its lights.

    The prop is one of its peers at random, so both targets teach the same denoiser; but this
    one does not change with the draw, and a small batch learns from it what otherwise drowns
    in the variety of shapes: on which side the handle is (stable target field, Xu et al.,
    arXiv 2302.00670).
    """
    props, views = batch.pictures.shape[:2]
    pictures = x0.clone()
    lights = None if batch.lights is None else batch.lights.flatten(0, 1).to(x0.device, copy=True)
    by_prop = (props, views)
    noisy = sigma[::views].flatten().tolist()  # one wait for the device
    hidden = [i for i, peers in enumerate(batch.peers) if len(peers) > 1 and noisy[i] >= PEER_SIGMA]
    if not hidden:
        return pictures, lights
    known, real = _padded([batch.peers[i] for i in hidden], x0.device)
    a, s = alpha[::views][hidden].unsqueeze(1), sigma[::views][hidden].view(-1, 1)
    x_t = (alpha * x0 + sigma * noise).unflatten(0, by_prop)[hidden]
    misfit = (x_t[:, None] - a[..., None] * known).square().flatten(2).sum(2)
    likely = (-misfit / (2 * s * s)).masked_fill(~real, -torch.inf).softmax(1)
    pictures.unflatten(0, by_prop)[hidden] = torch.einsum("nk,nkvchw->nvchw", likely, known)
    if lights is not None:
        known, _ = _padded([batch.peer_lights[i] for i in hidden], x0.device)
        lights.unflatten(0, by_prop)[hidden] = torch.einsum("nk,nkvchw->nvchw", likely, known)
    return pictures, lights


def _padded(parts: list[Tensor], device: torch.device) -> tuple[Tensor, Bool[Tensor, "n k"]]:
    """The parts as one tensor, each with as many rows as the longest; and which of these are real."""
    sizes = torch.tensor([len(part) for part in parts], device=device)
    padded = nn.utils.rnn.pad_sequence([part.to(device) for part in parts], batch_first=True)
    return padded, torch.arange(padded.shape[1], device=device) < sizes[:, None]


def timesteps(count: int, levels: int, generator: torch.Generator) -> Tensor:
    """Noise levels: half uniform, the rest from the noisiest fifth and its end.

    Below it the picture itself shows the side that it is seen from; only above it must the
    camera and the prompt decide, and distillation builds the shape from what is said there.
    """
    uniform, draw = torch.rand(2, count, generator=generator)
    low = torch.where(draw < 0.2, 0.97, torch.where(draw < 0.5, 0.8, 0.0))
    return ((low + (1 - low) * uniform) * levels).long().clamp(max=levels - 1)
