"""Parsing of prompts for evaluation, with the text encoder of the embedded prior."""

from __future__ import annotations

from functools import lru_cache

from dreamfusion3d.priors.pixel.prior import TEXT_ENCODER_FOLDER
from dreamfusion3d.priors.pixel.prompt_parser import parse_prompt
from dreamfusion3d.priors.pixel.text_encoder import PromptTextEncoder
from dreamfusion3d.priors.vocabulary import embedded_folder
from dreamfusion3d.procedural.objects import ObjectSpec


@lru_cache(maxsize=4096)
def prompt_to_spec(prompt: str) -> ObjectSpec | None:
    """Parse a prompt into an object spec; None if it names no procedural category."""
    return parse_prompt(prompt, _text_encoder()).spec


@lru_cache(maxsize=1)
def _text_encoder() -> PromptTextEncoder | None:
    folder = embedded_folder() / TEXT_ENCODER_FOLDER
    return PromptTextEncoder.load(folder) if folder.is_dir() else None
