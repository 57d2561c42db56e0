"""A page with a picture of every object that a prior knows the shape of; it needs neither network nor server."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from dreamfusion3d.core.files import atomic_write
from dreamfusion3d.core.progress import Progress
from dreamfusion3d.pipelines.seed_sheet import render_solid
from dreamfusion3d.procedural.categories import CATEGORIES, describe_category
from dreamfusion3d.procedural.objects import default_spec

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import UInt8

    from dreamfusion3d.priors.pixel.prior import PixelPrior

IMAGE_SIZE, RESOLUTION = 160, 64  # pixels along a side, samples per axis of the distance
TEMPLATE = Path(__file__).with_name("vocabulary.html")


def write_vocabulary_page(prior: PixelPrior, path: Path, progress: Progress) -> None:
    """Draw each style of each category of the prior's shapes, with what prompts may say of it."""
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
        entries.append(
            {
                "noun": noun,
                "image": "data:image/jpeg;base64," + base64.b64encode(_jpeg(image)).decode(),
                "command": f'text2mesh "{article} {noun}"',
                "description": "; ".join([*category.synonyms, describe_category(category)]),
            }
        )
    progress.close()
    text = TEMPLATE.read_text(encoding="utf-8").replace("/*DATA*/", json.dumps(entries).replace("<", "\\u003c"))
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _jpeg(image: UInt8[np.ndarray, "h w 3"]) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=88)
    return stream.getvalue()
