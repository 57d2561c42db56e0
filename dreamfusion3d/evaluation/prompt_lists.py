"""Committed prompt lists: 60 for development, two of 60 held out for reporting, and pairs of paraphrases."""

from __future__ import annotations

from pathlib import Path

from dreamfusion3d.core.errors import InputError

PROMPT_LISTS = ("development", "reporting", "world")
_FOLDER = Path(__file__).parent / "prompts"


def load_prompt_list(name: str) -> list[str]:
    """Load a committed list by name, or a text file; empty lines and "# ..." comments are skipped."""
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
