"""The network that reads prompts: that it learns, that its folder is read back, and when it is heard."""

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


class Saying:
    """Stands in for the network."""

    def __init__(self, meaning, confidence=1.0):
        self.answer = SpecPrediction(meaning, confidence)

    def predict_specs(self, sentences):
        return [self.answer for _ in sentences]


def test_it_learns_and_is_repeatable(monkeypatch):
    monkeypatch.setattr(train_text_encoder, "SPECS_PER_STEP", 8)
    monkeypatch.setattr(train_text_encoder, "UNRELATED_PER_STEP", 2)

    def losses():
        model = train_text_encoder.new_text_encoder(0)
        run = train_text_encoder.train_prompt_text_encoder(model, steps=40, generator=torch.Generator().manual_seed(0))
        return [step.loss for step in run]

    state = torch.get_rng_state()
    first = losses()
    assert first == losses()
    assert torch.equal(state, torch.get_rng_state()), "the global generator is left as it was"
    assert sum(first[-5:]) < 0.9 * sum(first[:5])


def test_folder_round_trip(tmp_path):
    model = train_text_encoder.new_text_encoder(1).eval()
    model.save(tmp_path / "words")
    again = PromptTextEncoder.load(tmp_path / "words")
    sentences = ["a red mug", "two-handled vase, blue", ""]
    for a, b in zip(model(sentences)[0].values(), again(sentences)[0].values(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-2, rtol=2e-2)


def test_a_sentence_does_not_depend_on_its_neighbours():
    model = train_text_encoder.new_text_encoder(0).eval()
    alone, _ = model(["a red mug"])
    among, _ = model(["a tall blue vase with two handles", "a red mug", "x"])
    torch.testing.assert_close(alone["category"][0], among["category"][1])
    model(["mug " * 500])  # long prompts are cut, not refused


def test_grams_of_alike_words_are_alike():
    def shared(a, b):
        one, other = set(ngram_buckets(a, 10**9)), set(ngram_buckets(b, 10**9))
        return len(one & other) / len(one | other)

    assert shared("mushroom", "mushrom") > 0.4 > 0.1 > shared("mushroom", "chair")


def test_every_slot_has_a_head():
    assert set(slot_values()) == {*ObjectSpec.__dataclass_fields__}


def test_what_the_rules_understand_is_not_asked():
    assert parse_prompt("a red mug", Saying(ObjectSpec("chair"))) == parse_with_rules("a red mug")
    assert parse_prompt("a mushrum", None) == parse_with_rules("a mushrum")


def test_a_misspelt_noun_is_read_and_named():
    purple = ObjectSpec("mushroom", "purple")
    reading = parse_prompt("a purple mushrom", Saying(purple))
    assert reading.spec == purple
    assert reading.notes == ["read 'mushroom' for 'mushrom'"] and not reading.unknown_words
    # letters exchanged are evidence enough
    assert parse_prompt("a picther", None).spec == ObjectSpec("pitcher", count=1)
    assert parse_prompt("a snowmna with a red hat", None).spec == ObjectSpec("snowman", second_color="red")
    # further off, the network is needed
    far = parse_prompt("a purple mushrum", Saying(purple))
    assert far.spec == purple and far.notes == ["read as: a purple mushroom"]


def test_a_misspelt_adjective_is_read_and_the_rest_kept():
    said = ObjectSpec("bookshelf", "red", material="wooden")
    reading = parse_prompt("a blue woodn steampunk bookshelf", Saying(said))
    assert reading.spec == ObjectSpec("bookshelf", "blue", material="wooden")
    assert reading.unknown_words == ["steampunk"]


def test_only_slots_that_an_unknown_word_bears_out_are_filled():
    hasty = Saying(ObjectSpec("mug", "yellow", "red", 2, "small", "metal", True))
    assert parse_prompt("a light mug", hasty).spec == ObjectSpec("mug", count=1)
    assert parse_prompt("a metalllic mug", hasty).spec == ObjectSpec("mug", count=1, material="metal")


@needs_weights
@pytest.mark.parametrize(
    ("prompt", "meaning"),
    [
        ("a low poly mug", ObjectSpec("mug", count=1)),
        ("a light blue mug", ObjectSpec("mug", "blue", count=1)),
        ("a cup of tea", ObjectSpec("mug", count=1)),
        ("a wine bottle", ObjectSpec("bottle")),
        ("a stool with a back", ObjectSpec("stool", count=3)),
        ("a red sports car", ObjectSpec("car", "red")),
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
def test_what_an_artist_would_type(prompt, meaning):
    words = PromptTextEncoder.load(embedded_folder() / TEXT_ENCODER_FOLDER)
    assert parse_prompt(prompt, words).spec == meaning


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("a hamburger", Saying(ObjectSpec("hammer"))),  # sure, but no word is like a hammer
        ("a mushrum", Saying(ObjectSpec("mushroom"), confidence=0.3)),
        ("a mushrum", Saying(None)),
        ("a horse", Saying(None)),  # one wrong letter from a house
        ("a wallet", Saying(ObjectSpec("hammer"))),  # and from a mallet
        ("a steampunk mug", Saying(ObjectSpec("mug", "red", count=1))),
        ("a mug mushrum", Saying(ObjectSpec("mushroom"))),  # the rules have a noun
    ],
)
def test_a_guess_that_nothing_bears_out_is_not_taken(prompt, answer):
    assert parse_prompt(prompt, answer) == parse_with_rules(prompt)


@needs_weights
def test_paraphrases_are_one_meaning_with_the_shipped_weights():
    words = PromptTextEncoder.load(embedded_folder() / TEXT_ENCODER_FOLDER)
    pairs = load_paraphrases()
    alike = [parse_prompt(a, words).spec == parse_prompt(b, words).spec for a, b in pairs]
    assert len(pairs) >= 40 and sum(alike) >= 0.95 * len(pairs)


@needs_weights
def test_the_shipped_weights_read_what_training_never_showed():
    words = PromptTextEncoder.load(embedded_folder() / TEXT_ENCODER_FOLDER)
    report = train_text_encoder.evaluate_text_encoder(words, count=200, generator=torch.Generator().manual_seed(9))
    assert report["captions"] > 0.97 and report["rewrites_kept_out_understood"] > 0.95
    assert report["strangers_refused_understood"] > 0.95
