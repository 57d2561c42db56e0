"""The main job on a list of prompts: times by stage, what the meshes are, a contact sheet.

    python -m benchmarks.prompts --out out/prompts                 # the ten prompts of the docs
    python -m benchmarks.prompts --prompt "a pitcher with one handle" --seeds 10
    python -m benchmarks.prompts --list reporting --columns 10     # a list of evaluate's

Prints JSON. For prompts of the procedural world the genus that the words ask for stands
beside the genus that came out.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from dreamfusion3d.core.config import resolve_config
from dreamfusion3d.core.progress import default_progress
from dreamfusion3d.evaluation import prompt_lists
from dreamfusion3d.pipelines.text_to_mesh import Asset, text_to_mesh
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.prompt_rules import parse_with_rules

PROMPTS = (
    "a pitcher with one handle",
    "a red mug with one handle",
    "a blue vase with two handles",
    "a yellow bowl",
    "a green bottle",
    "a brown chair",
    "a wooden table",
    "a purple mushroom",
    "a snowman",
    "a pink donut",
)
CELL = 256  # pixels of a thumbnail on the sheet


def row(asset: Asset) -> dict:
    """What one asset came out as."""
    record = asset.record
    mesh, meaning = record["mesh"], parse_with_rules(record["prompt"]).spec
    asked = CATEGORIES[meaning.category].expected_genus(meaning.count) if meaning else None
    return {
        "prompt": record["prompt"],
        "seed": record["seed"],
        "seconds": record["seconds"],
        "total_seconds": round(sum(record["seconds"].values()), 1),
        "faces": mesh["faces"],
        "components": mesh["components"],
        "watertight": mesh["watertight"],
        "volume": round(mesh["volume"], 4),
        "euler_number": mesh["euler_number"],
        "euler_asked": None if asked is None else 2 - 2 * asked,
        "checks_failed": [name for name, check in record["checks"].items() if not check["passed"]],
    }


def sheet(assets: list[Asset], path: Path, columns: int = 5) -> None:
    """The thumbnails in reading order."""
    cells = []
    for asset in assets:
        picture = iio.imread(asset.folder / "thumbnail.png")[..., :3].astype(np.float32)
        step = picture.shape[0] // CELL
        cells.append(picture.reshape(CELL, step, CELL, step, 3).mean((1, 3)))
    while len(cells) % columns:
        cells.append(np.full_like(cells[0], 255))
    rows = [np.concatenate(cells[i : i + columns], 1) for i in range(0, len(cells), columns)]
    iio.imwrite(path, np.concatenate(rows).round().astype(np.uint8))


def summary(rows: list[dict]) -> dict:
    totals = [r["total_seconds"] for r in rows]
    stages = {name: sum(r["seconds"][name] for r in rows) for name in rows[0]["seconds"]}
    return {
        "assets": len(rows),
        "topology_as_asked": sum(r["euler_number"] == r["euler_asked"] for r in rows),
        "watertight": sum(r["watertight"] for r in rows),
        "one_component": sum(r["components"] == 1 for r in rows),
        "median_seconds": statistics.median(totals),
        "least_seconds": min(totals),
        "most_seconds": max(totals),
        "share_by_stage": {name: round(value / sum(stages.values()), 3) for name, value in stages.items()},
        "peak_resident_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompt", action="append")
    parser.add_argument("--list", choices=("development", "reporting"), help="instead of the ten")
    parser.add_argument("--columns", type=int, default=5, help="of the contact sheet")
    parser.add_argument("--seeds", type=int, default=1, help="seeds 0 .. N-1 of every prompt")
    parser.add_argument("--quality", default="standard")
    parser.add_argument("--prior")
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--out", type=Path, default=Path("out/prompts"))
    arguments = parser.parse_args()
    config = resolve_config(arguments.quality, None, arguments.sets, prior__name=arguments.prior)
    wanted = arguments.prompt or (prompt_lists.load_prompt_list(arguments.list) if arguments.list else PROMPTS)
    assets = [
        text_to_mesh(
            prompt, out=arguments.out / f"seed{seed}", seed=seed, config=config, progress=default_progress(quiet=True)
        )
        for prompt in wanted
        for seed in range(arguments.seeds)
    ]
    sheet(assets, arguments.out / "sheet.png", arguments.columns)
    rows = [row(asset) for asset in assets]
    print(json.dumps({"benchmark": "prompts", "summary": summary(rows), "assets": rows}, indent=2))


if __name__ == "__main__":
    main()
