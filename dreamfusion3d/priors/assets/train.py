"""Training of an asset network on the signed distances and materials around a mesh.

The distance is trained like that of shape networks: clamped, with differences between neighbors. Materials are trained
near the surface: the network mixes a palette, clustered from the asset's own materials.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from scipy.cluster.vq import kmeans2
from torch import Tensor

from dreamfusion3d.core.finite_differences import unit_gradient
from dreamfusion3d.priors.assets.network import AssetNetwork
from dreamfusion3d.priors.assets.surface import AssetSurface
from dreamfusion3d.priors.shapes.soap import Soap
from dreamfusion3d.priors.shapes.train import CLAMP, NEIGHBOR_OFFSET, NEIGHBOR_WEIGHT

SURFACE_POINTS = 150_000  # from which distances are measured
TRAINING_POINTS = 80_000
NEAR_FRACTION = 0.75  # of the training points: on and close to the surface
BATCH_SIZE = 3072  # points per step
LEARNING_RATE, WARM_UP_STEPS = 0.015, 100
MATERIAL_WEIGHT, LABEL_WEIGHT = 2.0, 0.1
WIDTHS = ((500, 64), (1500, 96))  # of networks for surfaces of at most so many faces
MAX_WIDTH = 128
MAX_PALETTE = 16
MIN_PALETTE_DISTANCE = 0.02  # between palette entries
NORMAL_EPSILON = 4e-3  # of finite differences, in scene units


@dataclass(frozen=True)
class AssetPoints:
    """Points around a surface with their true values, in the scene.

    Attributes:
        label: Nearest palette entry of the first m points, which are on or close to the surface.
        points: All points.
        distance: Signed distances of the points.
        neighbors: A point near each of the first m.
        neighbor_distance: Their signed distances.
        materials: sRGB base color, roughness and metallic of the surface nearest to the first m points.
        palette: Cluster centers of the materials.
    """

    label: Int[Tensor, " m"]
    points: Float[Tensor, "n 3"]
    distance: Float[Tensor, " n"]
    neighbors: Float[Tensor, "m 3"]
    neighbor_distance: Float[Tensor, " m"]
    materials: Float[Tensor, "m 5"]
    palette: Float[Tensor, "k 5"]


def draw_asset_points(surface: AssetSurface, *, seed: int = 0) -> AssetPoints:
    """Draw the training points of an asset."""
    rng = np.random.default_rng(seed)
    count = TRAINING_POINTS
    num_near = int(count * NEAR_FRACTION)
    row = rng.integers(len(surface.points), size=count - count // 8)
    spread = np.repeat([0.0, 0.012, 0.05], [num_near // 4, num_near - num_near // 4, len(row) - num_near])
    points = surface.points[row] + spread[:, None] * rng.normal(size=(len(row), 3))
    points = np.concatenate([points, rng.uniform(-0.95, 0.95, (count // 8, 3))])
    neighbors = points[:num_near] + NEIGHBOR_OFFSET * rng.normal(size=(num_near, 3))
    distance, neighbor_distance = surface.distance(points), surface.distance(neighbors)
    materials = surface.materials_at(points[:num_near])
    palette = material_palette(surface.materials, seed=seed)
    label = ((materials[:, None] - palette) ** 2).sum(2).argmin(1)
    arrays = points, distance, neighbors, neighbor_distance, materials, palette
    return AssetPoints(torch.from_numpy(label), *(torch.from_numpy(a.astype(np.float32)) for a in arrays))


def material_palette(materials: Float[np.ndarray, "n 5"], *, seed: int = 0) -> Float[np.ndarray, "k 5"]:
    """Cluster materials into at most ``MAX_PALETTE`` distinct entries, the most frequent first."""
    rng = np.random.default_rng(seed)
    sample = materials[rng.choice(len(materials), min(len(materials), 20_000), replace=False)]
    distinct = np.unique(sample.round(3), axis=0)
    if len(distinct) > MAX_PALETTE:
        centers, _ = kmeans2(sample, MAX_PALETTE, minit="++", seed=rng, iter=30)
    else:
        centers = distinct
    nearest = ((sample[:, None] - centers) ** 2).sum(2).argmin(1)
    counts = np.bincount(nearest, minlength=len(centers))
    kept: list[np.ndarray] = []
    for k in np.argsort(-counts, kind="stable"):
        if counts[k] and all(np.abs(centers[k] - other).max() > MIN_PALETTE_DISTANCE for other in kept):
            kept.append(centers[k])
    return np.stack(kept)


def new_asset_network(surface: AssetSurface, points: AssetPoints, name: str, seed: int) -> AssetNetwork:
    """Return an untrained network for the points of an asset: a wider one for a surface of many faces."""
    width = next((width for faces, width in WIDTHS if surface.num_faces <= faces), MAX_WIDTH)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed ^ zlib.crc32(name.encode()))
        network = AssetNetwork(len(points.palette), width)
    network.palette.copy_(points.palette)
    return network


def train_asset_network(
    network: AssetNetwork, data: AssetPoints, *, steps: int, generator: torch.Generator
) -> Iterator[tuple[int, float]]:
    """Train in place, yielding (step, loss) after each step."""
    optimizer = Soap([p for p in network.parameters() if p.requires_grad], LEARNING_RATE)
    num_near, batch_near = len(data.materials), int(BATCH_SIZE * NEAR_FRACTION)
    for step in range(steps):
        near = torch.randint(num_near, (batch_near,), generator=generator)
        far = torch.randint(num_near, len(data.points), (BATCH_SIZE - batch_near,), generator=generator)
        optimizer.lr = LEARNING_RATE * min(1.0, step / WARM_UP_STEPS) * (1 - step / steps) ** 1.5
        loss = _loss(network, data, near, far)
        network.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        yield step + 1, float(loss.detach())


def _loss(network: AssetNetwork, data: AssetPoints, near: Tensor, far: Tensor) -> Tensor:
    rows = torch.cat([near, far])
    true, true_neighbor = data.distance[rows], data.neighbor_distance[near]
    out = network(torch.cat([data.points[rows], data.neighbors[near]]))
    distance, neighbor = out[: len(rows), 0], out[len(rows) :, 0]
    weight = 0.02 / (0.02 + true.abs())
    # beyond the clamp, only the side matters
    error = (distance - true).abs().where(true.abs() < CLAMP, (CLAMP - distance * true.sign()).clamp(min=0))
    difference = (neighbor - distance[: len(near)]) - (true_neighbor - true[: len(near)])
    near_weight = weight[: len(near)]
    difference_error = (near_weight * difference.abs()).mean() / NEIGHBOR_OFFSET
    logits = out[: len(near), 1:]
    mixed = network.mix(logits)
    material_error = (near_weight[:, None] * (mixed - data.materials[near]).abs()).sum(1).mean()
    label_error = (near_weight * F.cross_entropy(logits, data.label[near], reduction="none")).mean()
    distance_loss = 10 * (weight * error).mean() + NEIGHBOR_WEIGHT * difference_error
    return distance_loss + MATERIAL_WEIGHT * material_error + LABEL_WEIGHT * label_error


@torch.no_grad()
def evaluate_asset_network(network: AssetNetwork, surface: AssetSurface, count: int = 20_000) -> dict[str, float]:
    """Compare the network with the surface it was trained on, at points the training did not draw.

    Returns:
        The angle between normals in degrees (mean, and fraction below 10), the mean distance between the surfaces in
        scene units, and the fraction of the surface whose color is right to a tenth in every channel.
    """
    rows = np.random.default_rng(99).choice(len(surface.points), min(count, len(surface.points)), replace=False)
    points = torch.from_numpy(surface.points[rows].astype(np.float32))
    normals = torch.from_numpy(surface.normals[rows].astype(np.float32))

    def distance(x: Tensor) -> Tensor:
        return network.query(x)[:, 0]

    found = points.clone()
    for _ in range(3):
        found -= distance(found)[:, None] * unit_gradient(distance, found, NORMAL_EPSILON)
    cosine = (normals * unit_gradient(distance, found, NORMAL_EPSILON)).sum(1)
    solid = torch.from_numpy(~surface.sheet[rows])
    angle = torch.rad2deg(torch.acos(cosine.where(solid, cosine.abs()).clamp(-1, 1)))
    color = network.mix(network.query(points)[:, 1:])[:, :3]
    true_color = torch.from_numpy(surface.materials[rows, :3].astype(np.float32))
    return {
        "angle_deg": round(float(angle.mean()), 2),
        "below_10_deg": round(float((angle < 10).float().mean()), 4),
        "distance": round(float((found - points).norm(dim=1).mean()), 5),
        "right_color": round(float(((color - true_color).abs().amax(1) < 0.1).float().mean()), 4),
    }
