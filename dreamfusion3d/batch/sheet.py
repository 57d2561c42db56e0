"""contact_sheet.html: every finished asset of a folder on one page that needs no network and no server."""

from __future__ import annotations

import base64
import contextlib
import io
import json
from pathlib import Path
from typing import Any

from dreamfusion3d import files
from dreamfusion3d.batch.state import record_of
from dreamfusion3d.slug import hashed
from dreamfusion3d.workspace import Workspace

THUMBNAIL = 256  # pixels along a side
TEMPLATE = Path(__file__).with_name("contact_sheet.html")
# Figures of asset.json's mesh that may be sorted by, beside the checks.
FIGURES = ("vertices", "faces", "components", "genus", "volume")


def write(out: Path) -> Path:
    """OUT/contact_sheet.html of all finished assets in OUT; verdicts of OUT/review.json are taken over."""
    cards = [card for report in sorted(out.glob("*/asset.json")) if (card := _card(report.parent))]
    earlier: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        earlier = dict(json.loads((out / "review.json").read_text(encoding="utf-8"))["verdicts"])
    page = TEMPLATE.read_text(encoding="utf-8")
    # the page keeps verdicts in the browser under this key: by folder, so that two sheets keep apart
    data = {"key": hashed(str(out.resolve()), length=16), "assets": cards, "verdicts": earlier}
    path = out / "contact_sheet.html"
    with files.replacing(path) as temporary:
        temporary.write_text(page.replace("/*DATA*/", _script_safe(data)), encoding="utf-8")
    return path


def _script_safe(data: Any) -> str:
    """JSON that no prompt can end the script element with."""
    text = json.dumps(data, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _card(folder: Path) -> dict[str, Any] | None:
    """What the page shows of an asset; None when its record cannot be read."""
    record = record_of(Workspace(folder))
    with contextlib.suppress(KeyError, TypeError, AttributeError, ValueError):
        if record is not None:
            checks = {
                str(name): {"passed": bool(c["passed"]), "figure": _plain(c["figure"])}
                for name, c in record["checks"].items()
            }
            links = [str(n) for n in record["files"] if not str(n).endswith((".png", ".mp4"))]
            return {
                "name": folder.name, "prompt": str(record["prompt"]), "seed": str(record["seed"]),
                "sha256": str(next((record["files"][n]["sha256"] for n in links), "")),
                "links": links, "video": "turntable.mp4" if "turntable.mp4" in record["files"] else None,
                "checks": checks,
                "figures": {name: _plain(record["mesh"].get(name)) for name in FIGURES},
                "seconds": round(sum(float(s) for s in record["seconds"].values()), 1),
                "thumbnail": _thumbnail(folder / "thumbnail.png"),
            }
    return None


def _plain(value: Any) -> float | None:
    return float(value) if isinstance(value, (bool, int, float)) else None


def _thumbnail(path: Path) -> str | None:
    """The picture as a data URI, small enough for a thousand on one page; None when there is none."""
    from PIL import Image

    with contextlib.suppress(OSError, ValueError, Image.DecompressionBombError):
        with Image.open(path) as picture:
            small = picture.convert("RGBA")
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        over = Image.new("RGBA", small.size, "#f4f4f4")
        stream = io.BytesIO()
        Image.alpha_composite(over, small).convert("RGB").save(stream, "WEBP", quality=82)
        return "data:image/webp;base64," + base64.b64encode(stream.getvalue()).decode()
    return None
