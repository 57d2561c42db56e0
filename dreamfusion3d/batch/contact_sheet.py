"""contact_sheet.html: every finished asset of a folder on one page that needs neither network nor server."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dreamfusion3d.batch import preview, reviews
from dreamfusion3d.batch.state import STATE_FOLDER
from dreamfusion3d.core import files
from dreamfusion3d.core.slug import hash_text
from dreamfusion3d.pipelines.workspace import Workspace, read_asset_record

THUMBNAIL_SIZE = 256  # pixels along a side
SHEET_TEMPLATE = Path(__file__).with_name("contact_sheet.html")
SHEET_SCRIPT = Path(__file__).with_name("turn.js")
MEDIA_SUFFIXES = (".png", ".mp4")
# figures of asset.json's "mesh" that cards can be sorted by, besides the checks
SORTABLE_FIGURES = ("vertices", "faces", "components", "genus", "volume")

Card = dict[str, Any]


def write_contact_sheet(out: Path) -> Path:
    """Write OUT/contact_sheet.html with all finished assets in OUT and the verdicts of OUT/review.json."""
    cards = [_embed_images(out, asset) for folder in asset_folders(out) if (asset := read_card(folder))]
    path = out / "contact_sheet.html"
    with files.atomic_write(path) as temporary:
        temporary.write_text(render_contact_sheet(out, cards, reviews.read_reviews(out)), encoding="utf-8")
    return path


def render_contact_sheet(out: Path, cards: Sequence[Card], review: reviews.ReviewLog, *, served: bool = False) -> str:
    """Render the page; ``served`` is True if `review` serves it, saves its verdicts and sends updates."""
    # "key": where the page stores verdicts in the browser, different for each folder
    data = {
        "key": hash_text(str(out.resolve()), length=16),
        "assets": cards,
        "verdicts": review.decisions,
        "replaced": review.replaced,
        "served": served,
        "folder": out.name or str(out),
    }
    text = SHEET_TEMPLATE.read_text(encoding="utf-8").replace("/*TURN*/", SHEET_SCRIPT.read_text(encoding="utf-8"))
    return text.replace("/*DATA*/", _script_safe(data))


def asset_folders(out: Path) -> Iterator[Path]:
    """Yield the folders in ``out`` that hold an asset.json."""
    for path in sorted(out.glob("*/asset.json")):
        yield path.parent


def _script_safe(data: Any) -> str:
    """Encode JSON so that no prompt can close the script element."""
    text = json.dumps(data, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def read_card(folder: Path) -> Card | None:
    """Return what the page shows of an asset, without images; None if its record cannot be read."""
    record = read_asset_record(Workspace(folder))
    with contextlib.suppress(KeyError, TypeError, AttributeError, ValueError):
        if record is not None:
            checks = {
                str(name): {"passed": bool(c["passed"]), "figure": _finite_float(c["figure"])}
                for name, c in record["checks"].items()
            }
            names = [str(name) for name in record["files"]]
            return {
                "name": folder.name,
                "prompt": str(record["prompt"]),
                "seed": str(record["seed"]),
                "sha256": main_file_sha256(record),
                "links": [n for n in names if not n.endswith(MEDIA_SUFFIXES)],
                "model": f"{folder.name}.glb" if f"{folder.name}.glb" in names else None,
                "preview": None,
                "video": "turntable.mp4" if "turntable.mp4" in names else None,
                "checks": checks,
                "figures": {name: _finite_float(record["mesh"].get(name)) for name in SORTABLE_FIGURES},
                "seconds": round(sum(float(s) for s in record["seconds"].values()), 1),
                "thumbnail": "thumbnail.png" if (folder / "thumbnail.png").is_file() else None,
            }
    return None


def main_file_sha256(record: dict[str, Any]) -> str:
    """Return the digest that a verdict refers to: of the asset's first file that is neither image nor video."""
    found = (facts["sha256"] for name, facts in record["files"].items() if not str(name).endswith(MEDIA_SUFFIXES))
    return str(next(found, ""))


def cache_preview(out: Path, name: str) -> None:
    """Make the preview of a new asset now: at the end of a batch all workers would wait for the previews."""
    if (asset := read_card(out / name)) is not None:
        _load_preview(out, asset)


def _load_preview(out: Path, asset: Card) -> str | None:
    glb, cache = asset["model"], out / STATE_FOLDER / preview.PREVIEW_FOLDER
    return glb and preview.load_or_make_preview(out / asset["name"] / glb, asset["sha256"], cache)


def _embed_images(out: Path, asset: Card) -> Card:
    """Embed the thumbnail and the preview in a card, for a page that cannot fetch files."""
    thumbnail = _thumbnail_data_uri(out / asset["name"] / "thumbnail.png")
    return {**asset, "thumbnail": thumbnail, "preview": _load_preview(out, asset) or None}


def _finite_float(value: Any) -> float | None:
    return float(value) if isinstance(value, (bool, int, float)) and math.isfinite(value) else None


def _thumbnail_data_uri(path: Path) -> str | None:
    """Return the image as a data URI, small enough for a thousand per page; None if it cannot be read."""
    from PIL import Image

    with contextlib.suppress(OSError, ValueError, Image.DecompressionBombError):
        with Image.open(path) as image:
            thumbnail = image.convert("RGBA")
        thumbnail.thumbnail((THUMBNAIL_SIZE, THUMBNAIL_SIZE))
        background = Image.new("RGBA", thumbnail.size, "#f4f4f4")
        stream = io.BytesIO()
        Image.alpha_composite(background, thumbnail).convert("RGB").save(stream, "WEBP", quality=82)
        return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
    return None
