"""What a prompt looks like before any picture of it is seen: a small volume, and its pictures.

The best guess for a picture that is all noise is the mean of the pictures that the prompt may mean,
seen by that camera; and the means of all cameras are, nearly, pictures of one blurred body. A
``Scene`` makes that body from the prompt, as a volume, and shows it to each camera; the U-Net
gets these pictures beside the noisy ones (as GeNVS shows its diffusion model a rendered feature
volume, Chan et al., arXiv 2304.02602, section 4). Whatever one view teaches about the prompt,
every view then knows: on which side the handle is need not be learned camera by camera.

Letters: g prompts, b cameras, s samples on a ray, p colours of the palette, v channels of a volume,
c of its picture (``show``).
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dreamfusion3d.cameras.orbit import ORBIT_DISTANCE, OrbitCameras
from dreamfusion3d.core.files import atomic_write, write_json
from dreamfusion3d.core.shading import MEAN_SHADING, light_direction
from dreamfusion3d.fields.grid_sample import grid_sample_3d
from dreamfusion3d.procedural.occupancy import OCCUPANCY_EXTENT, OCCUPANCY_RESOLUTION

PALETTE_SIZE = 5  # colours of a scene: as many as a prop has parts, inside and outside of a finish
NUM_PATTERN_MAPS = 24  # fields over the volume that patterns are mixed from
VOLUME_CHANNELS = 4 + PALETTE_SIZE  # density, shares of the colours, and a vector: see ``Scene``
SCENE_IMAGE_CHANNELS = 5 + PALETTE_SIZE  # see ``show``
SAMPLES_PER_RAY = 32  # on a ray
_DENSITY_SCALE = 40.0  # per scene unit
_DENSITY_SHIFT = 4.0  # so that a volume of zeros is thin fog
_FILE = "model.safetensors"


class SceneVolume(nn.Module):
    """(prompt) -> volume, by three-dimensional convolutions from 4^3 up to 32^3; and its colours.

    A cell of the volume has a density, the share of each colour of the palette (they add to 1), and
    the vector whose product with the light's direction adds to the mean shade. The palette is
    another branch's business: so a colour that was learned on one body is known on every other.
    The convolutions are not told the colours (``shape``), for no colour moves a handle: what one
    red mug teaches about the shape of mugs holds for every mug.

    Stripes and spots lie still in the world, whatever they cover, and are finer than what
    convolutions can place from 4^3. So shares are also told by ``maps``, learned fields over the
    whole volume that the prompt weights.
    """

    def __init__(self, width: int, channels: tuple[int, int, int] = (96, 64, 32)) -> None:
        super().__init__()
        self.width, self.channels = width, tuple(channels)
        wide, middle, narrow = channels
        self.code = nn.Sequential(
            nn.Linear(width, 512), nn.SiLU(), nn.Linear(512, 512), nn.SiLU(), nn.Linear(512, wide * 4**3)
        )
        self.palette = nn.Sequential(nn.Linear(width, 256), nn.SiLU(), nn.Linear(256, 3 * PALETTE_SIZE))
        self.layers = nn.ModuleList(
            [
                nn.Conv3d(wide, wide, 3, padding=1),
                nn.Conv3d(wide, middle, 3, padding=1),
                nn.Conv3d(middle, narrow, 3, padding=1),
                nn.Conv3d(narrow, narrow, 3, padding=1),
            ]
        )
        self.last = nn.ConvTranspose3d(narrow, 4 + PALETTE_SIZE, 2, stride=2)
        self.maps = nn.Parameter(
            0.3 * torch.randn(NUM_PATTERN_MAPS, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION)
        )
        self.mix = nn.Linear(width, PALETTE_SIZE * NUM_PATTERN_MAPS)

    def colors(self, text: Float[Tensor, "g d"]) -> Float[Tensor, "g p 3"]:
        """The palettes of prompts whose vectors are ``text``, sRGB in [0, 1]."""
        return self.palette(text).unflatten(1, (PALETTE_SIZE, 3)).float().sigmoid()

    def forward(self, shape: Float[Tensor, "g d"]) -> Float[Tensor, "g v z y x"]:
        """The volumes of prompts whose vectors, without their colours, are ``shape``."""
        x = self.code(shape).unflatten(1, (-1, 4, 4, 4))
        first, second, third, fourth = self.layers
        x = F.silu(first(x))
        x = F.silu(second(F.interpolate(x, scale_factor=2.0)))
        x = F.silu(third(F.interpolate(x, scale_factor=2.0)))
        x = x + F.silu(fourth(x))
        density, light, color_logits = self.last(x).split([1, 3, PALETTE_SIZE], 1)
        pattern = torch.einsum(
            "gpm,mzyx->gpzyx", self.mix(shape).unflatten(1, (PALETTE_SIZE, NUM_PATTERN_MAPS)), self.maps
        )
        return torch.cat([density, (color_logits + pattern).float().softmax(1).to(x.dtype), light], 1)

    def unflatten_volumes(self, volumes: Float[Tensor, "g n"]) -> Float[Tensor, "g v z y x"]:
        """Volumes that were kept as rows."""
        return volumes.unflatten(1, (VOLUME_CHANNELS, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION))

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "config.json", {"width": self.width, "channels": list(self.channels)})
        with atomic_write(folder / _FILE) as temporary:
            save_file({k: v.half().contiguous() for k, v in self.state_dict().items()}, temporary)

    @classmethod
    def load(cls, folder: Path) -> SceneVolume:
        config = json.loads((folder / "config.json").read_text())
        model = cls(config["width"], tuple(config["channels"]))
        model.load_state_dict({k: v.float() for k, v in load_file(folder / _FILE).items()})
        return model


def render_scene_volume(
    volumes: Float[Tensor, "b v z y x"],
    cameras: OrbitCameras,
    height: int,
    width: int,
    *,
    generator: torch.Generator | None = None,
    jitter: Float[Tensor, "b 1 {height} {width}"] | None = None,
) -> Float[Tensor, "b c {height} {width}"]:
    """Volume ``i`` as camera ``i`` sees it; with a generator, at samples that are shifted at random, or by
    the ``shift`` of `shifts`.

    The light that each colour of the palette sends, in [0, 1]; the opacity, in [-1, 1]; normals in
    the camera's frame, and depth. The lights times the palette are the premultiplied picture.
    """
    if generator is not None:
        jitter = sample_jitter(len(cameras), height, width, generator=generator, device=cameras.azimuth_deg.device)
    with torch.autocast(volumes.device.type, enabled=False):  # geometry wants its digits
        return _render_volume(volumes.float(), cameras.resized(height, width), jitter)


def sample_jitter(
    count: int, height: int, width: int, *, generator: torch.Generator, device: torch.device
) -> Float[Tensor, "{count} 1 {height} {width}"]:
    """By how much of their distance the samples of each pixel's ray are moved, drawn by lot."""
    return torch.rand(count, 1, height, width, generator=generator_on_device(generator, device), device=device)


def generator_on_device(generator: torch.Generator, device: torch.device) -> torch.Generator:
    """``generator``, or one on ``device`` that it seeds: what is large is drawn where it is used."""
    if generator.device.type == device.type:
        return generator
    seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    return torch.Generator(device).manual_seed(seed)


def voxel_opacity(volumes: Float[Tensor, "g v z y x"]) -> Float[Tensor, "g z y x"]:
    """How opaque each cell is across its width: 1 is solid."""
    density = _DENSITY_SCALE * F.softplus(volumes[:, 0].float() - _DENSITY_SHIFT)
    return 1 - torch.exp(-density * (2 * OCCUPANCY_EXTENT / OCCUPANCY_RESOLUTION))


def sample_initial_volume(
    volume: Float[Tensor, "v z y x"], colors: Float[Tensor, "p 3"], resolution: int
) -> tuple[Float[Tensor, "r r r"], Float[Tensor, "r r r 3"]]:
    """A volume as a field has it: extinction per scene unit and base colour, at samples over [-1, 1]^3
    with corners, [x, y, z]. Nothing is outside of the volume's cube."""
    axis = torch.linspace(-1, 1, resolution, device=volume.device)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    sampled = F.grid_sample(
        volume[None, : 1 + PALETTE_SIZE].float(),
        points[None] / OCCUPANCY_EXTENT,
        align_corners=False,
        padding_mode="border",
    )[0]
    inside = (points.abs() < OCCUPANCY_EXTENT).all(-1)
    density = _DENSITY_SCALE * F.softplus(sampled[0] - _DENSITY_SHIFT) * inside
    return density, torch.einsum("pxyz,pc->xyzc", sampled[1:], colors)


def _render_volume(
    volumes: Float[Tensor, "b v z y x"], cameras: OrbitCameras, jitter: Float[Tensor, "b 1 h w"] | None
) -> Float[Tensor, "b c h w"]:
    origins, directions = cameras.rays()
    step = 2 * OCCUPANCY_EXTENT * 1.1 / SAMPLES_PER_RAY
    shape, device = (len(cameras), 1, cameras.height, cameras.width), origins.device
    if jitter is None:
        jitter = torch.full(shape, 0.5, device=device)
    sample_position = torch.arange(SAMPLES_PER_RAY, device=device)[:, None, None] + jitter
    depth = cameras.distance[:, None, None, None] + (sample_position / SAMPLES_PER_RAY - 0.5) * (
        SAMPLES_PER_RAY * step
    )  # (b s h w)
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
    """Share of the ray that ends in each sample (Max 1995, eq. 3, piecewise constant)."""
    accumulated = optical_depth.cumsum(1) - optical_depth
    return torch.exp(-accumulated) - torch.exp(-accumulated - optical_depth)
