"""The text encoder: its training, its folder, and when its predictions are used."""

from __future__ import annotations

import pytest
import torch

from dreamfusion3d.evaluation.prompt_lists import load_paraphrases
from dreamfusion3d.priors.pixel import train_text_encoder
from dreamfusion3d.priors.pixel.prior import TEXT_ENCODER_FOLDER
from dreamfusion3d.priors.pixel.prompt_parser import parse_prompt
from dreamfusion3d.priors.pixel.text_encoder import PromptTextEncoder, SpecPrediction, ngram_buckets, slot_values
from dreamfusion3d.priors.vocabulary import embedded_folder
from dreamfusion3d.procedural.objects import ObjectSpec
from dreamfusion3d.procedural.prompt_rules import parse_with_rules

needs_weights = pytest.mark.skipif(
    not (embedded_folder() / TEXT_ENCODER_FOLDER).is_dir(), reason="no weights are shipped"
)


class FixedPredictor:
    """Predicts the same spec for every prompt."""

    def __init__(self, spec, confidence=1.0):
        self.prediction = SpecPrediction(spec, confidence)

    def predict_specs(self, sentences):
        return [self.prediction for _ in sentences]


def test_train_prompt_text_encoder_learns_and_is_repeatable():
    def losses():
        model = train_text_encoder.new_text_encoder(0)
        run = train_text_encoder.train_prompt_text_encoder(
            model, steps=40, specs_per_step=8, unrelated_per_step=2, generator=torch.Generator().manual_seed(0)
        )
        return [step.loss for step in run]

    state = torch.get_rng_state()
    first = losses()
    assert first == losses()
    assert torch.equal(state, torch.get_rng_state()), "the global generator is left as it was"
    assert sum(first[-5:]) < 0.9 * sum(first[:5])


def test_save_and_load(tmp_path):
    model = train_text_encoder.new_text_encoder(1).eval()
    model.save(tmp_path / "words")
    again = PromptTextEncoder.load(tmp_path / "words")
    sentences = ["a red mug", "two-handled vase, blue", ""]
    for a, b in zip(model(sentences)[0].values(), again(sentences)[0].values(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-2, rtol=2e-2)


def test_forward_does_not_depend_on_other_sentences():
    model = train_text_encoder.new_text_encoder(0).eval()
    alone, _ = model(["a red mug"])
    among, _ = model(["a tall blue vase with two handles", "a red mug", "x"])
    torch.testing.assert_close(alone["category"][0], among["category"][1])
    model(["mug " * 500])  # long prompts are cut, not refused


def test_ngram_buckets_of_similar_words_overlap():
    def shared(a, b):
        one, other = set(ngram_buckets(a, 10**9)), set(ngram_buckets(b, 10**9))
        return len(one & other) / len(one | other)

    assert shared("mushroom", "mushrom") > 0.4 > 0.1 > shared("mushroom", "chair")


def test_slot_values_cover_all_fields_but_the_style():
    """A style is a noun, which the rules read."""
    assert set(slot_values()) == {*ObjectSpec.__dataclass_fields__} - {"style"}


def test_parse_prompt_prefers_the_rules():
    assert parse_prompt("a red mug", FixedPredictor(ObjectSpec("chair"))) == parse_with_rules("a red mug")
    assert parse_prompt("a mushrum", None) == parse_with_rules("a mushrum")


def test_parse_prompt_corrects_a_misspelled_noun():
    purple = ObjectSpec("mushroom", "purple")
    parsed = parse_prompt("a purple mushrom", FixedPredictor(purple))
    assert parsed.spec == purple
    assert parsed.notes == ["read 'mushroom' for 'mushrom'"] and not parsed.unknown_words
    # swapped letters need no confirmation
    assert parse_prompt("a picther", None).spec == ObjectSpec("pitcher", count=1)
    assert parse_prompt("a snowmna with a red hat", None).spec == ObjectSpec("snowman", second_color="red")
    # a larger error needs the network
    far = parse_prompt("a purple mushrum", FixedPredictor(purple))
    assert far.spec == purple and far.notes == ["read as: a purple mushroom"]


def test_parse_prompt_corrects_a_misspelled_adjective_only():
    predicted = ObjectSpec("bookshelf", "red", material="wooden")
    parsed = parse_prompt("a blue woodn steampunk bookshelf", FixedPredictor(predicted))
    assert parsed.spec == ObjectSpec("bookshelf", "blue", material="wooden")
    assert parsed.unknown_words == ["steampunk"]


def test_parse_prompt_fills_only_slots_of_unknown_words():
    predictor = FixedPredictor(ObjectSpec("mug", "yellow", "red", 2, "small", "metal", True))
    assert parse_prompt("a light mug", predictor).spec == ObjectSpec("mug", count=1)
    assert parse_prompt("a metalllic mug", predictor).spec == ObjectSpec("mug", count=1, material="metal")


@needs_weights
@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a low poly mug", ObjectSpec("mug", count=1)),
        ("a light blue mug", ObjectSpec("mug", "blue", count=1)),
        ("a cup of tea", ObjectSpec("mug", count=1)),
        ("a wine bottle", ObjectSpec("bottle", style="wine bottle")),
        ("a stool with a back", ObjectSpec("stool", count=3)),
        ("a red sports car", ObjectSpec("car", "red", style="sports car")),
        ("a witch hat", ObjectSpec("hat")),
        ("a duck with a red hat", ObjectSpec("duck")),
        ("a cup and saucer", ObjectSpec("mug", count=1)),
        ("a blue mug on a white table", ObjectSpec("mug", "blue", count=1)),
        ("a barrel with iron hoops", ObjectSpec("barrel")),
        ("a hammer with a wooden handle", ObjectSpec("hammer")),
        ("a robot holding a sword", ObjectSpec("robot")),
        ("a vase against a plain light grey background", ObjectSpec("vase")),
        ("a white teapot with a black handle", ObjectSpec("teapot", "white", count=1)),
    ],
)
def test_parse_prompt_of_typical_prompts(prompt, expected):
    text_encoder = PromptTextEncoder.load(embedded_folder() / TEXT_ENCODER_FOLDER)
    assert parse_prompt(prompt, text_encoder).spec == expected


@pytest.mark.parametrize(
    ("prompt", "predictor"),
    [
        ("a harmonica", FixedPredictor(ObjectSpec("hammer"))),  # confident, but no word resembles a hammer
        ("a mushrum", FixedPredictor(ObjectSpec("mushroom"), confidence=0.3)),
        ("a mushrum", FixedPredictor(None)),
        ("a horse", FixedPredictor(None)),  # one letter from a house
        ("a wallet", FixedPredictor(ObjectSpec("hammer"))),  # one letter from a mallet
        ("a steampunk mug", FixedPredictor(ObjectSpec("mug", "red", count=1))),
        ("a mug mushrum", FixedPredictor(ObjectSpec("mushroom"))),  # the rules found a noun
    ],
)
def test_parse_prompt_ignores_unconfirmed_predictions(prompt, predictor):
    assert parse_prompt(prompt, predictor) == parse_with_rules(prompt)


@needs_weights
def test_parse_prompt_maps_paraphrases_to_one_spec():
    text_encoder = PromptTextEncoder.load(embedded_folder() / TEXT_ENCODER_FOLDER)
    pairs = load_paraphrases()
    equal = [parse_prompt(a, text_encoder).spec == parse_prompt(b, text_encoder).spec for a, b in pairs]
    assert len(pairs) >= 40 and sum(equal) >= 0.95 * len(pairs)


@needs_weights
def test_evaluate_text_encoder_with_the_embedded_weights():
    text_encoder = PromptTextEncoder.load(embedded_folder() / TEXT_ENCODER_FOLDER)
    report = train_text_encoder.evaluate_text_encoder(
        text_encoder, count=200, generator=torch.Generator().manual_seed(9)
    )
    assert report["captions"] > 0.97 and report["rewrites_kept_out_understood"] > 0.95
    assert report["strangers_refused_understood"] > 0.95
