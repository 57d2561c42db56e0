"""The committed lists of prompts: 60 to develop with, 60 kept for reporting, pairs that mean the same."""

from __future__ import annotations

from pathlib import Path

import torch

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.procedural.captions import caption
from dreamfusion3d.procedural.categories import HANDLES, KINDS
from dreamfusion3d.procedural.objects import COLOURS, SIZES, Meaning

NAMES = ("development", "reporting")
LENGTH = 60
_SEEDS = {"development": 11, "reporting": 12}
_FOLDER = Path(__file__).parent / "prompts"


def prompts(name: str) -> list[str]:
    """A committed list by its name, or the lines of a text file; empty lines and "# ..." are left out."""
    path = _FOLDER / f"{name}.txt" if name in NAMES else Path(name).expanduser()
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"no list of prompts can be read from {name!r} ({error}); give "
            f"{' or '.join(NAMES)}, or a text file with a prompt a line"
        ) from None
    found = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    if not found:
        raise InputError(f"{path} holds no prompt")
    return list(dict.fromkeys(found))


def paraphrases() -> list[tuple[str, str]]:
    """Hand-written pairs that mean the same."""
    lines = (_FOLDER / "paraphrases.txt").read_text(encoding="utf-8").splitlines()
    return [(a.strip(), b.strip()) for a, _, b in (line.partition(" = ") for line in lines) if b]


def make(name: str) -> list[str]:
    """The grammar's list of that name: every kind in turn, its attributes drawn at random; what
    one list holds is not in the other."""
    others = make("development") if name == "reporting" else []
    generator = torch.Generator().manual_seed(_SEEDS[name])

    def one_of(values: list[str]) -> str:
        return values[int(torch.randint(len(values), (), generator=generator))]

    order = torch.randperm(len(KINDS), generator=generator).tolist()
    names = list(KINDS)
    made: dict[str, None] = {}
    while len(made) < LENGTH:
        kind = KINDS[names[order[len(made) % len(order)]]]
        count, option = kind.forms()[int(torch.randint(len(kind.forms()), (), generator=generator))]
        second = one_of(["default"] * 24 + list(COLOURS))
        if (kind.second is HANDLES and not count) or set(kind.second) & set(kind.option):
            second = "default"
        meaning = Meaning(
            kind.name, one_of(["natural"] * 6 + list(COLOURS)), second, count,
            one_of(["normal"] * 8 + list(SIZES)), one_of(["plain"] * 3 + list(kind.finishes)), option,
        )
        sentence = caption(meaning, generator=generator, plain=True)
        if sentence not in others:
            made[sentence] = None
    return list(made)
