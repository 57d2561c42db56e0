"""Rewrites keep what a sentence means."""

from __future__ import annotations

import pytest
import torch

from dreamfusion3d.priors.pixel.train_text_encoder import random_spec
from dreamfusion3d.procedural.augment import (
    HELD_OUT_AUGMENTATIONS,
    TRAIN_AUGMENTATIONS,
    augment_caption,
    generate_unrelated_prompt,
)
from dreamfusion3d.procedural.captions import generate_caption
from dreamfusion3d.procedural.prompt_rules import parse_with_rules


def picker(generator):
    return lambda options: options[int(torch.randint(len(options), (), generator=generator))]


BY_RULES = [
    r for r in (*TRAIN_AUGMENTATIONS, *HELD_OUT_AUGMENTATIONS) if r.__name__ not in ("_misspelt", "_swapped", "_listed")
]


@pytest.mark.parametrize("one", BY_RULES, ids=lambda r: r.__name__)
def test_a_rewrite_keeps_the_meaning(one):
    """What is well spelt, the rules can still read: an independent check of the rewrites."""
    generator = torch.Generator().manual_seed(3)
    kept = changed = 0
    for _ in range(150):
        meaning = random_spec(generator=generator)
        before = generate_caption(meaning, generator=generator)
        after = one(before, picker(generator))
        changed += after != before
        kept += parse_with_rules(after).spec == meaning
    assert kept >= 147 and changed > 20


def test_misspelling_changes_one_word_a_little():
    generator = torch.Generator().manual_seed(0)
    for spoil in (
        r for r in (*TRAIN_AUGMENTATIONS, *HELD_OUT_AUGMENTATIONS) if r.__name__ in ("_misspelt", "_swapped")
    ):
        changed = 0
        for _ in range(50):
            before = "a striped pitcher without handles"
            after = spoil(before, picker(generator))
            pairs = list(zip(before.split(), after.split(), strict=True))
            wrong = [(a, b) for a, b in pairs if a != b]
            assert len(wrong) <= 1 and all(abs(len(a) - len(b)) <= 1 for a, b in wrong)
            changed += len(wrong)
        assert changed > 40


def test_rewriting_is_repeatable_and_varied():
    def some(seed):
        generator = torch.Generator().manual_seed(seed)
        return [augment_caption("a red mug with one handle", generator=generator) for _ in range(20)]

    assert some(0) == some(0) != some(1) and len(set(some(0))) > 10


@pytest.mark.parametrize("kept_out", [False, True])
def test_strangers_are_not_of_this_world(kept_out):
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        sentence = generate_unrelated_prompt(generator=generator, held_out=kept_out)
        assert parse_with_rules(sentence).spec is None, sentence
