"""A page with a picture of every object that a prior knows the shape of; it needs neither network nor server."""

from __future__ import annotations

import base64
import io
import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dreamfusion3d.core.files import atomic_write
from dreamfusion3d.core.progress import Progress
from dreamfusion3d.pipelines.seed_sheet import render_solid
from dreamfusion3d.priors.assets.captions import head_noun
from dreamfusion3d.priors.vocabulary import EMBEDDED
from dreamfusion3d.procedural.categories import CATEGORIES, describe_category
from dreamfusion3d.procedural.objects import default_spec

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from dreamfusion3d.priors.pixel.prior import PixelPrior

IMAGE_SIZE, RESOLUTION = 160, 64  # pixels along a side, samples per axis of the distance
TEMPLATE = Path(__file__).with_name("vocabulary.html")


def write_vocabulary_page(prior: PixelPrior, path: Path, progress: Progress) -> None:
    """Draw each style of each category of the prior's shapes, and its assets, with what prompts may say of them."""
    entries = _draw_styles(prior, progress) + _draw_assets(prior, progress)
    progress.close()
    text = TEMPLATE.read_text(encoding="utf-8").replace("/*DATA*/", json.dumps(entries).replace("<", "\\u003c"))
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _draw_styles(prior: PixelPrior, progress: Progress) -> list[dict[str, str]]:
    styles = [
        (CATEGORIES[name], style) for name in sorted(prior.shapes.categories) for style in CATEGORIES[name].style_names
    ]
    entries = []
    for i, (category, style) in enumerate(styles, 1):
        noun = style or category.name
        progress.step(i, len(styles), noun)
        solid = prior.solid_of(replace(default_spec(category.name), style=style))
        image = render_solid(solid, prior.device, IMAGE_SIZE, RESOLUTION)
        article = "an" if noun[0] in "aeiou" else "a"
        description = "; ".join([*category.synonyms, describe_category(category)])
        entries.append(_entry(prior, noun, f"{article} {noun}", image, description))
    return entries


def _draw_assets(prior: PixelPrior, progress: Progress) -> list[dict[str, str]]:
    """One entry per caption that a prompt can draw, with the first of its assets."""
    captions = [caption for caption in dict.fromkeys(prior.assets.captions) if prior.match_library(caption)]
    entries = []
    for i, caption in enumerate(captions, 1):
        progress.step(i, len(captions), caption)
        first = prior.assets.entries[prior.assets.captions.index(caption)]
        image = render_solid(prior.assets.solid_of(first), prior.device, IMAGE_SIZE, RESOLUTION)
        count = prior.assets.captions.count(caption)
        description = "; ".join(["from a library", *([f"{count} of them"] if count > 1 else [])])
        entries.append(_entry(prior, head_noun(caption), caption, image, description))
    return entries


def _entry(
    prior: PixelPrior, noun: str, prompt: str, image: UInt8[np.ndarray, "h w 3"], description: str
) -> dict[str, str]:
    data = base64.b64encode(_jpeg(image)).decode()
    options = [] if prior.name == EMBEDDED else ["--prior", shlex.quote(str(prior.folder))]
    return {
        "noun": noun,
        "image": f"data:image/jpeg;base64,{data}",
        "command": " ".join(["text2mesh", json.dumps(prompt, ensure_ascii=False), *options]),
        "description": description,
    }


def _jpeg(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=88)
    return stream.getvalue()
