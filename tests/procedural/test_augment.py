"""Caption augmentations preserve the meaning."""

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
from dreamfusion3d.procedural.lexicon import random_chooser
from dreamfusion3d.procedural.prompt_rules import parse_with_rules

ALL_AUGMENTATIONS = (*TRAIN_AUGMENTATIONS, *HELD_OUT_AUGMENTATIONS)
MISSPELLINGS = [a for a in ALL_AUGMENTATIONS if a.__name__ in ("_misspell", "_swap_letters")]
PARSEABLE = [a for a in ALL_AUGMENTATIONS if a not in MISSPELLINGS and a.__name__ != "_to_comma_list"]


def test_augmentations_are_partitioned():
    assert len(MISSPELLINGS) == 2 and len(PARSEABLE) == len(ALL_AUGMENTATIONS) - 3


@pytest.mark.parametrize("augmentation", PARSEABLE, ids=lambda a: a.__name__)
def test_augmentation_preserves_meaning(augmentation):
    """The rule-based parser reads correctly spelled augmentations: an independent check."""
    generator = torch.Generator().manual_seed(3)
    kept = changed = 0
    for _ in range(150):
        spec = random_spec(generator=generator)
        before = generate_caption(spec, generator=generator)
        after = augmentation(before, random_chooser(generator))
        changed += after != before
        kept += parse_with_rules(after).spec == spec
    assert kept >= 147 and changed > 20


def test_misspellings_change_one_word_by_one_edit():
    generator = torch.Generator().manual_seed(0)
    for misspell in MISSPELLINGS:
        changed = 0
        for _ in range(50):
            before = "a striped pitcher without handles"
            after = misspell(before, random_chooser(generator))
            pairs = list(zip(before.split(), after.split(), strict=True))
            wrong = [(a, b) for a, b in pairs if a != b]
            assert len(wrong) <= 1 and all(abs(len(a) - len(b)) <= 1 for a, b in wrong)
            changed += len(wrong)
        assert changed > 40


def test_augment_caption_is_deterministic_and_varied():
    def augmented(seed):
        generator = torch.Generator().manual_seed(seed)
        return [augment_caption("a red mug with one handle", generator=generator) for _ in range(20)]

    assert augmented(0) == augmented(0) != augmented(1) and len(set(augmented(0))) > 10


@pytest.mark.parametrize("held_out", [False, True])
def test_unrelated_prompts_have_no_category(held_out):
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        sentence = generate_unrelated_prompt(generator=generator, held_out=held_out)
        assert parse_with_rules(sentence).spec is None, sentence
