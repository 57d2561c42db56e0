"""Shape networks: what they are told, what they learn, and how they are kept."""

from __future__ import annotations

import pytest
import torch

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.shapes.model import ShapeModel, ShapeObject
from dreamfusion3d.priors.shapes.network import ShapeNetwork, object_code, point_features
from dreamfusion3d.priors.shapes.train import (
    evaluate_network,
    new_network,
    sample_category,
    sample_surface_points,
    shape_loss,
    train_network,
)
from dreamfusion3d.priors.vocabulary import embedded_folder
from dreamfusion3d.priors.weights import load_network, save_network
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.objects import SIZES, default_spec, instance_values, object_from_instance, sample_objects


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_one_code_for_all_points_is_the_same_as_one_per_point():
    network = ShapeNetwork(code_size=5, num_parts=3)
    points, code = torch.rand(7, 3, generator=generator()), torch.rand(1, 5, generator=generator(1))
    torch.testing.assert_close(network(points, code), network(points, code.expand(7, 5)))


def test_point_features_of_mirrored_points_differ_in_signs_only():
    points = torch.rand(20, 3, generator=generator())
    here, mirrored = point_features(points), point_features(-points)
    torch.testing.assert_close(here.abs(), mirrored.abs())
    assert (here != mirrored).any()


def test_codes_tell_objects_apart():
    """Any two forms differ, whatever their variation."""
    objects = sample_category("mug", 60, generator=generator())
    form = torch.stack([objects.count, objects.option], 1)
    codes = {tuple(f.tolist()): row for f, row in zip(form, object_code(objects)[:, 6:], strict=True)}
    assert len({tuple(row.tolist()) for row in codes.values()}) == len(codes) == 6


def test_training_learns_and_repeats(monkeypatch):
    monkeypatch.setattr("dreamfusion3d.priors.shapes.train.NUM_OBJECTS", 100)
    monkeypatch.setattr("dreamfusion3d.priors.shapes.train.BATCH_SIZE", 600)
    monkeypatch.setattr("dreamfusion3d.priors.shapes.train.HELD_OUT_OBJECTS", 2)

    def train() -> tuple[ShapeNetwork, list[float]]:
        network = new_network("ball", 0)
        return network, list(train_network(network, "ball", 60, 0))

    network, losses = train()
    again, same = train()
    assert losses == same and all(
        torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True)
    )
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    result, untrained = evaluate_network(network, "ball"), evaluate_network(new_network("ball", 0), "ball")
    assert result["angle_deg"] < untrained["angle_deg"] and 0 < result["below_10_deg"] <= 1


@pytest.mark.parametrize("name", ["jar", "mug"])
def test_a_network_has_the_parts_of_all_styles(name):
    """Some jars have a lid of its own color, and some have none."""
    objects = sample_category(name, 64, generator=generator())
    parts = objects.part_distances(torch.zeros(64, 3), torch.arange(64))
    assert new_network(name, 0).config["num_parts"] == len(parts)


def test_one_code_is_queried_like_any_other():
    network = ShapeNetwork(code_size=5, num_parts=3)
    points, code = torch.rand(9000, 3, generator=generator()), torch.rand(1, 5, generator=generator(1))
    with torch.no_grad():
        torch.testing.assert_close(network.query(points, code), network(points, code), atol=1e-5, rtol=0)


def test_a_part_that_is_far_off_is_still_pulled():
    """Without that, parts died: no sample was close enough to the clamp to have a gradient."""
    objects, network = sample_category("mug", 4, generator=generator()), new_network("mug", 0)
    with torch.no_grad():
        network.last.bias.fill_(50.0)
    points, index = torch.zeros(64, 3), torch.arange(4).repeat_interleave(16)
    points[:, 1] = torch.linspace(-0.5, 0.5, 16).repeat(4)
    loss = shape_loss(network, object_code(objects), points, index, 16, objects, generator())
    loss.backward()
    true = objects.part_distances(points, index)
    inside = (true < 0).any(1)
    assert inside.any() and (network.last.bias.grad[inside] > 0).all()


def test_saved_networks_give_the_same_distances_and_damage_is_one_line(tmp_path):
    network = new_network("mug", 0)
    save_network(network, tmp_path / "mug.safetensors", {"steps": 1})
    loaded, record = load_network(ShapeNetwork, tmp_path / "mug.safetensors", "train-shapes")
    points, code = (
        torch.rand(50, 3, generator=generator()),
        object_code(sample_category("mug", 1, generator=generator())),
    )
    torch.testing.assert_close(loaded(points, code), network(points, code), atol=2e-3, rtol=2e-3)
    assert record == {"steps": 1}
    (tmp_path / "mug.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="train-shapes"):
        ShapeModel(tmp_path).sample(default_spec("mug"), generator=generator())
    assert ShapeModel(tmp_path).categories == {"mug"}


def test_size_words_scale_distances_as_they_scale_objects():
    """The network sees the frame before the size word; a twin queries it by hand."""
    network = new_network("mug", 0).eval()
    objects = sample_objects("mug", 1, "tall", 1, generator=generator())
    points = torch.rand(30, 3, generator=generator(2)) - 0.5
    wide, high = SIZES["tall"]
    by_hand = network(points / torch.tensor([wide, high, wide]), object_code(objects)) * wide
    torch.testing.assert_close(ShapeObject(network, objects).part_distances(points), by_hand)


def test_an_instance_is_drawn_again_from_its_values():
    objects = sample_objects("mug", 1, "normal", 1, generator=generator(5))
    again = object_from_instance(default_spec("mug"), instance_values(objects))
    torch.testing.assert_close(again.variation, objects.variation)
    assert again.style == objects.style and again.count == 1
    with pytest.raises(ValueError, match="6 numbers"):
        object_from_instance(default_spec("mug"), {"variation": [0.0], "style": ""})


def test_a_network_of_other_styles_is_refused(tmp_path):
    save_network(ShapeNetwork(code_size=3, num_parts=2), tmp_path / "mug.safetensors", {"steps": 1})
    with pytest.raises(InputError, match="other styles"):
        ShapeModel(tmp_path).sample(default_spec("mug"), generator=generator())


def test_embedded_networks_fit_their_categories_and_are_accurate():
    model = ShapeModel(embedded_folder() / "shapes")
    assert model.categories == set(CATEGORIES)
    for i, name in enumerate(sorted(model.categories)):
        network, record = load_network(ShapeNetwork, model.folder / f"{name}.safetensors", "train-shapes")
        objects = sample_category(name, 1, generator=generator())
        assert network.config["code_size"] == object_code(objects).shape[1], name
        assert record["below_10_deg"] > 0.7 and record["part"] > 0.95 and record["worst_part"] > 0.75, name
        if i % 10 == 0:
            shape = model.sample(default_spec(name), generator=generator())
            surface = sample_surface_points(shape.instance, 200, generator=generator())
            assert shape.distance(surface.points).abs().mean() < 0.01, name
