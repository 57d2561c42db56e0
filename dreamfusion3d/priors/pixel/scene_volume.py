"""Mean scene of a prompt: a small volume and its renders, which condition the U-Net.

The optimal prediction for pure noise is the mean of all images of the prompt from that camera, and the means of all
cameras are nearly renders of one blurred object. ``SceneVolume`` predicts that object from the prompt; the U-Net
gets its renders beside the noisy images (as GeNVS conditions its diffusion model on a rendered feature volume, Chan
et al., arXiv 2304.02602, section 4). What one view teaches about a prompt then holds for all views: the side of a
handle need not be learned camera by camera.

Axes: g prompts, b cameras, s samples per ray, p palette colors, v volume channels, c channels of its renders.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion3d.cameras.orbit import ORBIT_DISTANCE, OrbitCameras
from dreamfusion3d.core.shading import MEAN_SHADING, light_direction
from dreamfusion3d.core.types import InitialVolume
from dreamfusion3d.fields.grid_sample import grid_sample_3d
from dreamfusion3d.priors.weights import load_weights, read_module_config, save_module
from dreamfusion3d.procedural.occupancy import OCCUPANCY_EXTENT, OCCUPANCY_RESOLUTION

PALETTE_SIZE = 5  # colors of a scene, enough for the parts of an object and the two colors of a pattern
NUM_PATTERN_MAPS = 24  # learned fields over the volume that patterns are mixed from
VOLUME_CHANNELS = 4 + PALETTE_SIZE  # density, color fractions and a shading vector: see ``SceneVolume``
SCENE_IMAGE_CHANNELS = 5 + PALETTE_SIZE  # see ``render_scene_volume``
SAMPLES_PER_RAY = 32
_DENSITY_SCALE = 40.0  # per scene unit
_DENSITY_SHIFT = 4.0  # a volume of zeros is nearly transparent


class SceneVolume(nn.Module):
    """Predict a prompt's volume by 3D convolutions from 4^3 to 32^3 voxels, and its palette.

    A voxel has a density, the fraction of each palette color (they sum to 1) and a vector whose product with the
    light direction is added to the mean shading. A separate branch predicts the palette, so a color learned on one
    object is known on every other. The convolutions do not see the colors of the prompt (``shape``): what a red mug
    teaches about the shape of mugs holds for every mug.

    Stripes and spots are fixed in the world, whatever they cover, and too fine for convolutions that start at 4^3.
    The fractions therefore also depend on ``maps``, learned fields over the volume that the prompt weights.
    """

    def __init__(self, width: int, channels: tuple[int, int, int] = (96, 64, 32)) -> None:
        super().__init__()
        self.width, self.channels = width, tuple(channels)
        wide, middle, narrow = channels
        hidden = nn.Linear(width, 512), nn.SiLU(), nn.Linear(512, 512), nn.SiLU()
        self.code = nn.Sequential(*hidden, nn.Linear(512, wide * 4**3))
        self.palette = nn.Sequential(nn.Linear(width, 256), nn.SiLU(), nn.Linear(256, 3 * PALETTE_SIZE))
        sizes = (wide, wide), (wide, middle), (middle, narrow), (narrow, narrow)
        self.layers = nn.ModuleList(nn.Conv3d(*channels, 3, padding=1) for channels in sizes)
        self.last = nn.ConvTranspose3d(narrow, 4 + PALETTE_SIZE, 2, stride=2)
        self.maps = nn.Parameter(0.3 * torch.randn(NUM_PATTERN_MAPS, *[OCCUPANCY_RESOLUTION] * 3))
        self.mix = nn.Linear(width, PALETTE_SIZE * NUM_PATTERN_MAPS)

    def colors(self, text: Float[Tensor, "g d"]) -> Float[Tensor, "g p 3"]:
        """Predict the palettes of prompt vectors, sRGB in [0, 1]."""
        return self.palette(text).unflatten(1, (PALETTE_SIZE, 3)).float().sigmoid()

    def forward(self, shape: Float[Tensor, "g d"]) -> Float[Tensor, "g v z y x"]:
        """Predict the volumes of prompt vectors without their colors."""
        x = self.code(shape).unflatten(1, (-1, 4, 4, 4))
        first, second, third, fourth = self.layers
        x = F.silu(first(x))
        x = F.silu(second(F.interpolate(x, scale_factor=2.0)))
        x = F.silu(third(F.interpolate(x, scale_factor=2.0)))
        x = x + F.silu(fourth(x))
        density, light, color_logits = self.last(x).split([1, 3, PALETTE_SIZE], 1)
        mix = self.mix(shape).unflatten(1, (PALETTE_SIZE, NUM_PATTERN_MAPS))
        pattern = torch.einsum("gpm,mzyx->gpzyx", mix, self.maps)
        return torch.cat([density, (color_logits + pattern).float().softmax(1).to(x.dtype), light], 1)

    def unflatten_volumes(self, volumes: Float[Tensor, "g n"]) -> Float[Tensor, "g v z y x"]:
        return volumes.unflatten(1, (VOLUME_CHANNELS, *[OCCUPANCY_RESOLUTION] * 3))

    def save(self, folder: Path) -> None:
        save_module(self, folder, {"width": self.width, "channels": list(self.channels)})

    @classmethod
    def load(cls, folder: Path) -> SceneVolume:
        config = read_module_config(folder)
        return load_weights(cls(config["width"], tuple(config["channels"])), folder)


def render_scene_volume(
    volumes: Float[Tensor, "b v z y x"],
    cameras: OrbitCameras,
    height: int,
    width: int,
    *,
    jitter: Float[Tensor, "b 1 {height} {width}"] | None = None,
) -> Float[Tensor, "b c {height} {width}"]:
    """Render volume ``i`` from camera ``i``.

    ``jitter`` offsets the samples of each ray, in [0, 1] of their spacing (``sample_jitter``); None means 0.5.

    Returns:
        The shading of each palette color in [0, 1], which times the palette is the premultiplied image; the opacity
        in [-1, 1]; normals in the camera's frame; depth.
    """
    with torch.autocast(volumes.device.type, enabled=False):  # geometry needs full precision
        return _render_volume(volumes.float(), cameras.resized(height, width), jitter)


def sample_jitter(
    count: int, height: int, width: int, *, generator: torch.Generator, device: torch.device
) -> Float[Tensor, "{count} 1 {height} {width}"]:
    """Draw the offset of each ray's samples, as a fraction of their spacing."""
    return torch.rand(count, 1, height, width, generator=generator_on_device(generator, device), device=device)


def generator_on_device(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """Return ``generator``, or one on ``device`` that it seeds, so that large tensors are drawn where they are used."""
    if generator.device.type == device.type:
        return generator
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return torch.Generator(device).manual_seed(seed)


def voxel_opacity(volumes: Float[Tensor, "g v z y x"]) -> Float[Tensor, "g z y x"]:
    """Return the opacity of each voxel along its width."""
    density = _DENSITY_SCALE * F.softplus(volumes[:, 0].float() - _DENSITY_SHIFT)
    return 1 - torch.exp(-density * (2 * OCCUPANCY_EXTENT / OCCUPANCY_RESOLUTION))


def sample_initial_volume(
    volume: Float[Tensor, "v z y x"],
    colors: Float[Tensor, "p 3"],
    resolution: int,
    surfaces: Float[Tensor, "p 2"] | None = None,
) -> InitialVolume:
    """Resample a volume as density, base color and material, given roughness and metallic of each palette entry.

    Colors are mixed by the fractions; a material is that of the largest fraction, because nothing is half a metal.
    The density is zero outside the volume's cube.
    """
    axis = torch.linspace(-1, 1, resolution, device=volume.device)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    channels, grid = volume[None, : 1 + PALETTE_SIZE].float(), points[None] / OCCUPANCY_EXTENT
    sampled = F.grid_sample(channels, grid, align_corners=False, padding_mode="border")[0]
    inside = (points.abs() < OCCUPANCY_EXTENT).all(-1)
    density = _DENSITY_SCALE * F.softplus(sampled[0] - _DENSITY_SHIFT) * inside
    color = torch.einsum("pxyz,pc->xyzc", sampled[1:], colors)
    return InitialVolume(density, color, None if surfaces is None else surfaces[sampled[1:].argmax(0)])


def _render_volume(
    volumes: Float[Tensor, "b v z y x"], cameras: OrbitCameras, jitter: Float[Tensor, "b 1 h w"] | None
) -> Float[Tensor, "b c h w"]:
    origins, directions = cameras.rays()
    step = 2 * OCCUPANCY_EXTENT * 1.1 / SAMPLES_PER_RAY
    shape, device = (len(cameras), 1, cameras.height, cameras.width), origins.device
    if jitter is None:
        jitter = torch.full(shape, 0.5, device=device)
    sample_position = torch.arange(SAMPLES_PER_RAY, device=device)[:, None, None] + jitter
    from_center = (sample_position / SAMPLES_PER_RAY - 0.5) * (SAMPLES_PER_RAY * step)
    depth = cameras.distance[:, None, None, None] + from_center  # (b s h w)
    points = origins[:, None] + depth[..., None] * directions[:, None]
    sampled = grid_sample_3d(volumes, (points / OCCUPANCY_EXTENT).flatten(1, 3))
    sampled = sampled.unflatten(2, points.shape[1:4])  # (b v s h w)
    inside = (points.abs() < OCCUPANCY_EXTENT).all(-1)
    density = _DENSITY_SCALE * F.softplus(sampled[:, 0] - _DENSITY_SHIFT) * inside
    weight = _ray_weights(density * step)
    light = light_direction(cameras.camera_to_world)
    color_fraction, vector = sampled[:, 1:].split([PALETTE_SIZE, 3], 1)
    shade = MEAN_SHADING + torch.einsum("bcshw,bc->bshw", vector, light)
    opacity = weight.sum(1, keepdim=True)
    color_shading = (color_fraction * (weight * shade)[:, None]).sum(2)
    normals = torch.einsum("bchw,bck->bkhw", (vector * weight[:, None]).sum(2), cameras.camera_to_world[:, :3, :3])
    depth_map = (weight * (ORBIT_DISTANCE - depth)).sum(1, keepdim=True)
    return torch.cat([color_shading, opacity * 2 - 1, 2 * normals, depth_map], 1)


def _ray_weights(optical_depth: Float[Tensor, "b s h w"]) -> Float[Tensor, "b s h w"]:
    """Return the fraction of light that each sample of a ray absorbs (Max 1995, eq. 3, piecewise constant)."""
    accumulated = optical_depth.cumsum(1) - optical_depth
    return torch.exp(-accumulated) - torch.exp(-accumulated - optical_depth)
