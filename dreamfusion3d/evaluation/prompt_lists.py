"""Committed prompt lists: 60 for development, 60 held out for reporting, and pairs of paraphrases."""

from __future__ import annotations

from pathlib import Path

import torch

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.procedural.captions import generate_caption
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.lexicon import random_chooser
from dreamfusion3d.procedural.objects import COLORS, SIZES, ObjectSpec

PROMPT_LISTS = ("development", "reporting")
PROMPT_LIST_LENGTH = 60
_SEEDS = {"development": 11, "reporting": 12}
_FOLDER = Path(__file__).parent / "prompts"


def load_prompt_list(name: str) -> list[str]:
    """Load a committed list by name, or a text file; empty lines and "# ..." comments are skipped.

    Raises:
        InputError: The file cannot be read or holds no prompt.
    """
    path = _FOLDER / f"{name}.txt" if name in PROMPT_LISTS else Path(name).expanduser()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"cannot read a prompt list from {name!r} ({error}): use "
            f"{' or '.join(PROMPT_LISTS)}, or a text file with one prompt per line"
        ) from None
    prompts = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if not prompts:
        raise InputError(f"{path} contains no prompt: write one per line")
    return list(dict.fromkeys(prompts))


def load_paraphrases() -> list[tuple[str, str]]:
    """Load hand-written pairs of prompts with the same meaning."""
    lines = (_FOLDER / "paraphrases.txt").read_text(encoding="utf-8").splitlines()
    return [(a.strip(), b.strip()) for a, _, b in (line.partition(" = ") for line in lines) if b]


def generate_prompt_list(name: str) -> list[str]:
    """Generate a committed list from the caption grammar; tests compare it with the file.

    Categories take turns, attributes are random, and the two lists share no prompt.
    """
    excluded = generate_prompt_list("development") if name == "reporting" else []
    generator = torch.Generator().manual_seed(_SEEDS[name])
    choose = random_chooser(generator)

    order = torch.randperm(len(CATEGORIES), generator=generator).tolist()
    names = list(CATEGORIES)
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
