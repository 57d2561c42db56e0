"""Training pictures: shapes, painting, labels, and the cache's round trip."""

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
def pictures():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "TRAIN_IMAGE_SIZE", 16)
        *counts, (count, drawn) = render_dataset(7, 3, categories=["mug", "donut"], generator=generator())
    assert [n for n, _ in counts] == sorted(n for n, _ in counts) and all(p is None for _, p in counts)
    assert count == 7 and drawn is not None
    return drawn


def test_labels_name_what_was_drawn(pictures):
    assert len(pictures) == 7
    assert pictures.planes.shape == (7, 3, 6, 16, 16) and pictures.planes.dtype == torch.uint8
    for label in pictures.labels:
        assert label.category in ("mug", "donut") and label.size in SIZES
        assert (label.count, label.option) in CATEGORIES[label.category].variants()
        assert label.material in CATEGORIES[label.category].materials
    # handles are the second part of a mug: only those with some have any of that light
    second = pictures.planes[:, :, [1, 4]].flatten(1).any(1)
    for label, seen in zip(pictures.labels, second, strict=True):
        assert bool(seen) == (label.category == "donut" or label.count > 0)


def test_a_batch(pictures):
    batch = pictures.batch(5, 2, generator=generator())
    assert batch.pictures.shape == (5, 2, 4, 16, 16)
    assert batch.pictures.min() >= -1 and batch.pictures.max() <= 1
    rgb, opacity = (batch.pictures[:, :, :3] + 1) / 2, (batch.pictures[:, :, 3:] + 1) / 2
    assert (rgb <= opacity + 2 / 255).all(), "premultiplied"
    cameras = batch_cameras(batch)
    assert len(cameras) == 10 and cameras.height == 16
    assert cameras.azimuth_deg[2] == batch.azimuth_deg[1, 0]
    again = pictures.batch(5, 2, generator=generator())
    assert torch.equal(batch.pictures, again.pictures) and batch.captions == again.captions


def test_tokens_agree_with_labels_and_views_with_cameras(pictures):
    known = {(t.category, t.count, t.size) for t in pictures.labels}
    batch = pictures.batch(20, 3, generator=generator(1))
    for row, tokens in enumerate(batch.captions):
        values = {t.rpartition(":")[0]: t.rpartition(":")[2] for t in tokens}
        count = int(values[f"{values['kind']}:count"])
        assert (values["kind"], count, values["size"]) in known
        assert values["colour"] in (*COLORS, "natural") and values["second"] in (*COLORS, "default")
        # a view's camera travels with its picture
        for azimuth, picture in zip(batch.azimuth_deg[row], batch.pictures[row], strict=True):
            drawn = pictures.planes[pictures.azimuth_deg == azimuth]  # of this prop and its peers
            apart = (drawn[:, 5].float() / 255 * 2 - 1 - picture[3]).abs().flatten(1).amax(1)
            assert apart.min() < 1e-6


def test_a_picture_is_its_lights_in_some_colours_and_captions_come_with_theirs(pictures):
    batch = pictures.batch(4, 2, generator=generator(3))
    lights, rgb = batch.lights.movedim(2, -1), (batch.pictures[:, :, :3].movedim(2, -1) + 1) / 2
    for own, seen in zip(lights, rgb, strict=True):
        basis, wanted = own.reshape(-1, 5), seen.reshape(-1, 3)
        solved = torch.linalg.lstsq(basis, wanted, driver="gelsd").solution
        torch.testing.assert_close(basis @ solved, wanted, atol=1e-4, rtol=0)
    kinds = {label.category for label in pictures.labels}
    assert batch.paints.colours.shape == (dataset.CAPTION_COLORS_PER_BATCH, 5, 3)
    for tokens, colours in zip(batch.paints.captions, batch.paints.colours, strict=True):
        values = {t.rpartition(":")[0]: t.rpartition(":")[2] for t in tokens}
        assert values["kind"] in kinds
        if values["colour"] in COLORS:
            torch.testing.assert_close(colours[0], torch.tensor(COLORS[values["colour"]]))


def test_peers_are_of_one_label_and_share_their_paint_and_cameras(pictures):
    batch = pictures.batch(6, 2, generator=generator(2))
    assert len(batch.peers) == 6 and max(len(p) for p in batch.peers) > 1
    for own, peers in zip(batch.pictures, batch.peers, strict=True):
        assert (peers == own).flatten(1).all(1).sum() == 1
        assert peers.shape[1:] == own.shape
    for own, lights in zip(batch.lights, batch.peer_lights, strict=True):
        assert (lights == own).flatten(1).all(1).any() and lights.shape[2] == 5
    by_camera = {}
    for azimuth, label in zip(pictures.azimuth_deg.tolist(), pictures.labels, strict=True):
        assert by_camera.setdefault(tuple(azimuth), label) == label
    for peers in batch.peers:  # the hue of the whole hardly depends on the shape
        light = ((peers[:, :, :3] + 1) / 2).mean((1, 3, 4))
        hue = light / light.norm(dim=1, keepdim=True)
        assert (hue - hue[0]).abs().max() < 0.15


def test_painting_is_linear_in_the_light(pictures):
    dimmed = ObjectDataset(
        torch.cat([pictures.planes[:, :, :5] // 2 * 2, pictures.planes[:, :, 5:]], 2),
        pictures.solids,
        pictures.azimuth_deg,
        pictures.elevation_deg,
        pictures.labels,
    )
    half = ObjectDataset(
        torch.cat([pictures.planes[:, :, :5] // 2, pictures.planes[:, :, 5:]], 2),
        pictures.solids,
        pictures.azimuth_deg,
        pictures.elevation_deg,
        pictures.labels,
    )
    whole, halved = (p.batch(4, 2, generator=generator()).images[:, :, :3] + 1 for p in (dimmed, half))
    torch.testing.assert_close(whole, 2 * halved, rtol=1e-4, atol=1e-5)


def test_cache_round_trip(pictures, tmp_path):
    pictures.save(tmp_path / "a.safetensors")
    pictures.save(tmp_path / "b.safetensors")
    both = load_dataset(tmp_path)
    assert len(both) == 14 and both.labels == pictures.labels * 2
    assert torch.equal(both.layers[:7], pictures.planes) and torch.equal(both.layers[7:], pictures.planes)
    assert torch.equal(both.azimuth_deg[7:], pictures.azimuth_deg)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.safetensors", "b.safetensors"]


def test_size_words_of_a_slot_are_drawn_as_labelled():
    """A tall prop is taller in its picture than the same prop made short."""
    tall = sample_objects("mug", 0, ["tall", "short"], 2, generator=generator())
    tall = replace(tall, variation=tall.variation[[0, 0]])
    cameras = dataset.sample_orbit_cameras(1, generator=generator(), size=24).select(torch.tensor([0, 0]))
    opacity = render_objects(tall, cameras).opacity
    rows = (opacity > 0.5).any(2).sum(1)
    assert rows[0] > rows[1] + 3


def test_a_split_keeps_peers_together(pictures):
    rest, kept = pictures.split(2)
    assert len(rest) + len(kept) == len(pictures) and len(kept) > 0 and len(rest) > 0
    cameras = [{tuple(row) for row in part.azimuth_deg.tolist()} for part in (rest, kept)]
    assert not cameras[0] & cameras[1]
    assert sorted(map(str, rest.labels + kept.labels)) == sorted(map(str, pictures.labels))


def test_singles_show_what_their_meanings_say(pictures):
    drawn, meanings = pictures.singles(6, generator=generator(4))
    assert drawn.shape == (6, 4, 16, 16) and len(meanings) == 6
    assert {m.category for m in meanings} <= {"mug", "donut"}
    again, same = pictures.singles(6, generator=generator(4))
    assert torch.equal(drawn, again) and meanings == same
    everything = {(m.category, m.color) for m in pictures.singles(400, generator=generator(5))[1]}
    assert {(kind, c) for kind in ("mug", "donut") for c in COLORS} <= everything, "held-out pairs too"


def test_cells_are_filled_where_pictures_and_distances_say(pictures):
    """A mug's cells lie inside its outline, and its cavity is empty though nothing is seen through it."""
    assert pictures.solids.shape == (7, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION, OCCUPANCY_RESOLUTION)
    mug = sample_objects("mug", 1, "normal", 2, generator=generator())
    cells = object_occupancy(mug)
    at = (torch.arange(OCCUPANCY_RESOLUTION) + 0.5) * (2 * OCCUPANCY_EXTENT / OCCUPANCY_RESOLUTION) - OCCUPANCY_EXTENT
    for i, j, k in [(16, 16, 16), (5, 20, 24), (16, 8, 9)]:
        distance = mug.distance(torch.stack([at[k], at[j], at[i]]).expand(2, 3), torch.arange(2))
        expected = (0.5 - distance * OCCUPANCY_RESOLUTION / (2 * OCCUPANCY_EXTENT)).clamp(0, 1)
        torch.testing.assert_close(cells[:, i, j, k], expected)
    column = cells[0, 15:17, :, 15:17].mean((0, 2))  # upwards through the middle
    assert 0.5 < column.max() <= 1 and column[20:].max() < 0.1
    solid = sample_objects("apple", 1, "normal", 1, generator=generator())
    assert object_occupancy(solid)[0, 16, 16, 16] == 1


def test_a_batch_knows_what_its_props_are_filled_with(pictures):
    batch = pictures.batch(6, 2, generator=generator(2))
    assert batch.solids is not None and batch.solids.shape == (
        6,
        OCCUPANCY_RESOLUTION,
        OCCUPANCY_RESOLUTION,
        OCCUPANCY_RESOLUTION,
    )
    labels = {id(members): members for members in pictures._peers}.values()
    means = torch.stack([pictures.solids[members].float().mean(0) / 255 for members in labels])
    for cells in batch.solids:
        assert (means - cells).flatten(1).abs().amax(1).min() < 1e-6
