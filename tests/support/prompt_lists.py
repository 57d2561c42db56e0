"""Generation of the committed prompt lists in dreamfusion3d/evaluation/prompts."""

from __future__ import annotations

import torch

from dreamfusion3d.priors.vocabulary import load_vocabulary, vocabulary_categories
from dreamfusion3d.procedural.captions import generate_caption
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.lexicon import random_chooser
from dreamfusion3d.procedural.objects import COLORS, SIZES, ObjectSpec

PROMPT_LIST_LENGTH = 60
_SEEDS = {"development": 11, "reporting": 12, "world": 13}


def generate_prompt_list(name: str) -> list[str]:
    """Generate a committed prompt list from the caption grammar.

    The categories of the embedded U-Net take turns, in "world" the others; attributes are random, and no two lists
    share a prompt.
    """
    excluded = generate_prompt_list("development") if name == "reporting" else []
    generator = torch.Generator().manual_seed(_SEEDS[name])
    choose = random_chooser(generator)

    known = set(vocabulary_categories(load_vocabulary("embedded")))
    names = [category for category in CATEGORIES if (category in known) != (name == "world")]
    order = torch.randperm(len(names), generator=generator).tolist()
    sentences: dict[str, None] = {}
    while len(sentences) < PROMPT_LIST_LENGTH:
        category = CATEGORIES[names[order[len(sentences) % len(order)]]]
        count, option = category.variants()[int(torch.randint(len(category.variants()), (), generator=generator))]
        second_color = choose(["default"] * 24 + list(COLORS))
        if (category.second_part_is_handles and not count) or set(category.second_part_words) & set(
            category.option_words
        ):
            second_color = "default"
        spec = ObjectSpec(
            category.name,
            choose(["natural"] * 6 + list(COLORS)),
            second_color,
            count,
            choose(["normal"] * 8 + list(SIZES)),
            choose(["plain"] * 3 + list(category.materials)),
            option,
        )
        sentence = generate_caption(spec, generator=generator, plain=True)
        if sentence not in excluded:
            sentences[sentence] = None
    return list(sentences)
