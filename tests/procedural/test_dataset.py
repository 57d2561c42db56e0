"""Training data: labels, batches, peers, and the round trip through the cache."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from dreamfusion3d.procedural import dataset
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.dataset import ObjectDataset, batch_cameras, load_dataset, render_dataset
from dreamfusion3d.procedural.objects import COLORS, SIZES, sample_objects
from dreamfusion3d.procedural.occupancy import OCCUPANCY_EXTENT, OCCUPANCY_RESOLUTION, object_occupancy
from dreamfusion3d.procedural.renderer import render_objects


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def data():
    *counts, (count, rendered) = render_dataset(7, 3, categories=["mug", "donut"], image_size=16, generator=generator())
    assert [n for n, _ in counts] == sorted(n for n, _ in counts) and all(p is None for _, p in counts)
    assert count == 7 and rendered is not None
    return rendered


def test_render_dataset_labels_match_the_objects(data):
    assert len(data) == 7
    assert data.layers.shape == (7, 3, 6, 16, 16) and data.layers.dtype == torch.uint8
    for label in data.labels:
        assert label.category in ("mug", "donut") and label.size in SIZES
        assert (label.count, label.option) in CATEGORIES[label.category].variants()
        assert label.material in CATEGORIES[label.category].materials
    # the second part of a mug is its handles: it is visible only if there are some
    second_part = data.layers[:, :, [1, 4]].flatten(1).any(1)
    for label, visible in zip(data.labels, second_part, strict=True):
        assert bool(visible) == (label.category == "donut" or label.count > 0)


def test_batch_is_premultiplied_and_deterministic(data):
    batch = data.batch(5, 2, generator=generator())
    assert batch.images.shape == (5, 2, 4, 16, 16)
    assert batch.images.min() >= -1 and batch.images.max() <= 1
    rgb, opacity = (batch.images[:, :, :3] + 1) / 2, (batch.images[:, :, 3:] + 1) / 2
    assert (rgb <= opacity + 2 / 255).all(), "premultiplied"
    cameras = batch_cameras(batch)
    assert len(cameras) == 10 and cameras.height == 16
    assert cameras.azimuth_deg[2] == batch.azimuth_deg[1, 0]
    again = data.batch(5, 2, generator=generator())
    assert torch.equal(batch.images, again.images) and batch.tokens == again.tokens


def test_batch_tokens_match_labels_and_images_match_cameras(data):
    known = {(label.category, label.count, label.size) for label in data.labels}
    batch = data.batch(20, 3, generator=generator(1))
    for row, tokens in enumerate(batch.tokens):
        values = {t.rpartition(":")[0]: t.rpartition(":")[2] for t in tokens}
        count = int(values[f"{values['kind']}:count"])
        assert (values["kind"], count, values["size"]) in known
        assert values["colour"] in (*COLORS, "natural") and values["second"] in (*COLORS, "default")
        # every image comes with its own camera
        for azimuth, image in zip(batch.azimuth_deg[row], batch.images[row], strict=True):
            stored = data.layers[data.azimuth_deg == azimuth]  # of this object and its peers
            difference = (stored[:, 5].float() / 255 * 2 - 1 - image[3]).abs().flatten(1).amax(1)
            assert difference.min() < 1e-6


def test_batch_images_are_colorized_shading_and_captions_have_colors(data):
    batch = data.batch(4, 2, generator=generator(3))
    shading, rgb = batch.shading.movedim(2, -1), (batch.images[:, :, :3].movedim(2, -1) + 1) / 2
    for own, observed in zip(shading, rgb, strict=True):
        basis, expected = own.reshape(-1, 5), observed.reshape(-1, 3)
        solution = torch.linalg.lstsq(basis, expected, driver="gelsd").solution
        torch.testing.assert_close(basis @ solution, expected, atol=1e-4, rtol=0)
    categories = {label.category for label in data.labels}
    assert batch.caption_colors.colors.shape == (dataset.CAPTION_COLORS_PER_BATCH, 5, 3)
    for tokens, colors in zip(batch.caption_colors.tokens, batch.caption_colors.colors, strict=True):
        values = {t.rpartition(":")[0]: t.rpartition(":")[2] for t in tokens}
        assert values["kind"] in categories
        if values["colour"] in COLORS:
            torch.testing.assert_close(colors[0], torch.tensor(COLORS[values["colour"]]))


def test_batch_peers_share_label_colors_and_cameras(data):
    batch = data.batch(6, 2, generator=generator(2))
    assert len(batch.peers) == 6 and max(len(p) for p in batch.peers) > 1
    for own, peers in zip(batch.images, batch.peers, strict=True):
        assert (peers == own).flatten(1).all(1).sum() == 1
        assert peers.shape[1:] == own.shape
    for own, shading in zip(batch.shading, batch.peer_shading, strict=True):
        assert (shading == own).flatten(1).all(1).any() and shading.shape[2] == 5
    by_camera = {}
    for azimuth, label in zip(data.azimuth_deg.tolist(), data.labels, strict=True):
        assert by_camera.setdefault(tuple(azimuth), label) == label
    for peers in batch.peers:  # the hue of the whole hardly depends on the shape
        light = ((peers[:, :, :3] + 1) / 2).mean((1, 3, 4))
        hue = light / light.norm(dim=1, keepdim=True)
        assert (hue - hue[0]).abs().max() < 0.15


def test_batch_images_are_linear_in_shading(data):
    dimmed = ObjectDataset(
        torch.cat([data.layers[:, :, :5] // 2 * 2, data.layers[:, :, 5:]], 2),
        data.occupancy,
        data.azimuth_deg,
        data.elevation_deg,
        data.labels,
    )
    half = ObjectDataset(
        torch.cat([data.layers[:, :, :5] // 2, data.layers[:, :, 5:]], 2),
        data.occupancy,
        data.azimuth_deg,
        data.elevation_deg,
        data.labels,
    )
    whole, halved = (p.batch(4, 2, generator=generator()).images[:, :, :3] + 1 for p in (dimmed, half))
    torch.testing.assert_close(whole, 2 * halved, rtol=1e-4, atol=1e-5)


def test_save_and_load_dataset_round_trip(data, tmp_path):
    data.save(tmp_path / "a.safetensors")
    data.save(tmp_path / "b.safetensors")
    both = load_dataset(tmp_path)
    assert len(both) == 14 and both.labels == data.labels * 2
    assert torch.equal(both.layers[:7], data.layers) and torch.equal(both.layers[7:], data.layers)
    assert torch.equal(both.azimuth_deg[7:], data.azimuth_deg)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_sample_objects_sizes_per_object():
    """A tall object is taller in its image than the same object made short."""
    tall = sample_objects("mug", 0, ["tall", "short"], 2, generator=generator())
    tall = replace(tall, variation=tall.variation[[0, 0]])
    cameras = dataset.sample_orbit_cameras(1, generator=generator(), size=24).select(torch.tensor([0, 0]))
    opacity = render_objects(tall, cameras).opacity
    rows = (opacity > 0.5).any(2).sum(1)
    assert rows[0] > rows[1] + 3


def test_split_keeps_peers_together(data):
    rest, kept = data.split(2)
    assert len(rest) + len(kept) == len(data) and len(kept) > 0 and len(rest) > 0
    cameras = [{tuple(row) for row in part.azimuth_deg.tolist()} for part in (rest, kept)]
    assert not cameras[0] & cameras[1]
    assert sorted(map(str, rest.labels + kept.labels)) == sorted(map(str, data.labels))


def test_sample_images_match_specs_and_include_held_out_colors(data):
    images, specs = data.sample_images(6, generator=generator(4))
    assert images.shape == (6, 4, 16, 16) and len(specs) == 6
    assert {spec.category for spec in specs} <= {"mug", "donut"}
    again, same_specs = data.sample_images(6, generator=generator(4))
    assert torch.equal(images, again) and specs == same_specs
    sampled = {(spec.category, spec.color) for spec in data.sample_images(400, generator=generator(5))[1]}
    categories = {label.category for label in data.labels}
    assert {(category, c) for category in categories for c in COLORS} <= sampled, "held-out pairs too"


def test_object_occupancy_follows_the_distance(data):
    """The cavity of a mug is empty, although no render shows that."""
    assert data.occupancy.shape == (7, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION)
    mug = sample_objects("mug", 1, "normal", 2, generator=generator())
    occupancy = object_occupancy(mug)
    axis = (torch.arange(OCCUPANCY_RESOLUTION) + 0.5) * (2 * OCCUPANCY_EXTENT / OCCUPANCY_RESOLUTION) - OCCUPANCY_EXTENT
    for i, j, k in [(16, 16, 16), (5, 20, 24), (16, 8, 9)]:
        distance = mug.distance(torch.stack([axis[k], axis[j], axis[i]]).expand(2, 3), torch.arange(2))
        expected = (0.5 - distance * OCCUPANCY_RESOLUTION / (2 * OCCUPANCY_EXTENT)).clamp(0, 1)
        torch.testing.assert_close(occupancy[:, i, j, k], expected)
    column = occupancy[0, 15:17, :, 15:17].mean((0, 2))  # upwards through the center
    assert 0.5 < column.max() <= 1 and column[20:].max() < 0.1
    solid = sample_objects("apple", 1, "normal", 1, generator=generator())
    assert object_occupancy(solid)[0, 16, 16, 16] == 1


def test_batch_occupancy_is_the_mean_over_peers(data):
    batch = data.batch(6, 2, generator=generator(2))
    assert batch.occupancy is not None and batch.occupancy.shape == (
        6,
        OCCUPANCY_RESOLUTION,
        OCCUPANCY_RESOLUTION,
        OCCUPANCY_RESOLUTION,
    )
    labels = {id(members): members for members in data._peer_rows}.values()
    means = torch.stack([data.occupancy[members].float().mean(0) / 255 for members in labels])
    for occupancy in batch.occupancy:
        assert (means - occupancy).flatten(1).abs().amax(1).min() < 1e-6
