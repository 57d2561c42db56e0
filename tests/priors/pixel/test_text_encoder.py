"""The network that reads prompts: that it learns, that its folder is read back, and when it is heard."""

from __future__ import annotations

import pytest
import torch

from dreamfusion3d.evaluation.prompt_lists import paraphrases
from dreamfusion3d.priors.pixel import train_text_encoder
from dreamfusion3d.priors.pixel.prior import WORDS
from dreamfusion3d.priors.pixel.prompt_parser import understand
from dreamfusion3d.priors.pixel.text_encoder import Understood, WordEncoder, grams, slots
from dreamfusion3d.priors.vocabulary import embedded_folder
from dreamfusion3d.procedural.objects import Meaning
from dreamfusion3d.procedural.prompt_rules import read

needs_weights = pytest.mark.skipif(not (embedded_folder() / WORDS).is_dir(), reason="no weights are shipped")


class Saying:
    """Stands in for the network."""

    def __init__(self, meaning, confidence=1.0):
        self.answer = Understood(meaning, confidence)

    def understand(self, sentences):
        return [self.answer for _ in sentences]


def test_it_learns_and_is_repeatable(monkeypatch):
    monkeypatch.setattr(train_text_encoder, "MEANINGS", 8)
    monkeypatch.setattr(train_text_encoder, "STRANGERS", 2)

    def losses():
        model = train_text_encoder.new_encoder(0)
        run = train_text_encoder.train_words(model, steps=40, generator=torch.Generator().manual_seed(0))
        return [step.loss for step in run]

    state = torch.get_rng_state()
    first = losses()
    assert first == losses()
    assert torch.equal(state, torch.get_rng_state()), "the global generator is left as it was"
    assert sum(first[-5:]) < 0.9 * sum(first[:5])


def test_folder_round_trip(tmp_path):
    model = train_text_encoder.new_encoder(1).eval()
    model.save(tmp_path / "words")
    again = WordEncoder.load(tmp_path / "words")
    sentences = ["a red mug", "two-handled vase, blue", ""]
    for a, b in zip(model(sentences)[0].values(), again(sentences)[0].values(), strict=True):
        torch.testing.assert_close(a, b, atol=2e-2, rtol=2e-2)


def test_a_sentence_does_not_depend_on_its_neighbours():
    model = train_text_encoder.new_encoder(0).eval()
    alone, _ = model(["a red mug"])
    among, _ = model(["a tall blue vase with two handles", "a red mug", "x"])
    torch.testing.assert_close(alone["kind"][0], among["kind"][1])
    model(["mug " * 500])  # long prompts are cut, not refused


def test_grams_of_alike_words_are_alike():
    def shared(a, b):
        one, other = set(grams(a, 10**9)), set(grams(b, 10**9))
        return len(one & other) / len(one | other)

    assert shared("mushroom", "mushrom") > 0.4 > 0.1 > shared("mushroom", "chair")


def test_every_slot_has_a_head():
    assert set(slots()) == {*Meaning.__dataclass_fields__}


def test_what_the_rules_understand_is_not_asked():
    assert understand("a red mug", Saying(Meaning("chair"))) == read("a red mug")
    assert understand("a mushrum", None) == read("a mushrum")


def test_a_misspelt_noun_is_read_and_named():
    purple = Meaning("mushroom", "purple")
    reading = understand("a purple mushrom", Saying(purple))
    assert reading.meaning == purple
    assert reading.notes == ["read 'mushroom' for 'mushrom'"] and not reading.unknown
    # letters exchanged are evidence enough
    assert understand("a picther", None).meaning == Meaning("pitcher", count=1)
    assert understand("a snowmna with a red hat", None).meaning == Meaning("snowman", second_colour="red")
    # further off, the network is needed
    far = understand("a purple mushrum", Saying(purple))
    assert far.meaning == purple and far.notes == ["read as: a purple mushroom"]


def test_a_misspelt_adjective_is_read_and_the_rest_kept():
    said = Meaning("bookshelf", "red", finish="wooden")
    reading = understand("a blue woodn steampunk bookshelf", Saying(said))
    assert reading.meaning == Meaning("bookshelf", "blue", finish="wooden")
    assert reading.unknown == ["steampunk"]


def test_only_slots_that_an_unknown_word_bears_out_are_filled():
    hasty = Saying(Meaning("mug", "yellow", "red", 2, "small", "metal", True))
    assert understand("a light mug", hasty).meaning == Meaning("mug", count=1)
    assert understand("a metalllic mug", hasty).meaning == Meaning("mug", count=1, finish="metal")


@needs_weights
@pytest.mark.parametrize(
    ("prompt", "meaning"),
    [
        ("a low poly mug", Meaning("mug", count=1)),
        ("a light blue mug", Meaning("mug", "blue", count=1)),
        ("a cup of tea", Meaning("mug", count=1)),
        ("a wine bottle", Meaning("bottle")),
        ("a stool with a back", Meaning("stool", count=3)),
        ("a red sports car", Meaning("car", "red")),
        ("a witch hat", Meaning("hat")),
        ("a duck with a red hat", Meaning("duck")),
        ("a cup and saucer", Meaning("mug", count=1)),
        ("a blue mug on a white table", Meaning("mug", "blue", count=1)),
        ("a barrel with iron hoops", Meaning("barrel")),
        ("a hammer with a wooden handle", Meaning("hammer")),
        ("a robot holding a sword", Meaning("robot")),
        ("a vase against a plain light grey background", Meaning("vase")),
        ("a white teapot with a black handle", Meaning("teapot", "white", count=1)),
    ],
)
def test_what_an_artist_would_type(prompt, meaning):
    words = WordEncoder.load(embedded_folder() / WORDS)
    assert understand(prompt, words).meaning == meaning


@pytest.mark.parametrize(
    ("prompt", "answer"),
    [
        ("a hamburger", Saying(Meaning("hammer"))),  # sure, but no word is like a hammer
        ("a mushrum", Saying(Meaning("mushroom"), confidence=0.3)),
        ("a mushrum", Saying(None)),
        ("a horse", Saying(None)),  # one wrong letter from a house
        ("a wallet", Saying(Meaning("hammer"))),  # and from a mallet
        ("a steampunk mug", Saying(Meaning("mug", "red", count=1))),
        ("a mug mushrum", Saying(Meaning("mushroom"))),  # the rules have a noun
    ],
)
def test_a_guess_that_nothing_bears_out_is_not_taken(prompt, answer):
    assert understand(prompt, answer) == read(prompt)


@needs_weights
def test_paraphrases_are_one_meaning_with_the_shipped_weights():
    words = WordEncoder.load(embedded_folder() / WORDS)
    pairs = paraphrases()
    alike = [understand(a, words).meaning == understand(b, words).meaning for a, b in pairs]
    assert len(pairs) >= 40 and sum(alike) >= 0.95 * len(pairs)


@needs_weights
def test_the_shipped_weights_read_what_training_never_showed():
    words = WordEncoder.load(embedded_folder() / WORDS)
    report = train_text_encoder.measure_words(words, count=200, generator=torch.Generator().manual_seed(9))
    assert report["captions"] > 0.97 and report["rewrites_kept_out_understood"] > 0.95
    assert report["strangers_refused_understood"] > 0.95
