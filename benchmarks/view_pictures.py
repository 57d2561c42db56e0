"""A folder of pictures with captions and without cameras, as ``train-prior --pictures-from`` takes it.

    python -m benchmarks.view_pictures --out out/pictures
    dreamfusion3d train-prior out/untold --pictures-from out/pictures --minutes 25

Props whose sides differ, as the web has pictures of things: half of them from the front, more or less,
with a caption that names the thing alone ("a chair"); half from all around, with one that also names
the side ("a chair, back view"). What is learned from them is asked in ``benchmarks.view_prompts``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from tests.support.captioned_images import write_captioned_images

KINDS = ("duck", "chair", "bed")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", action="append", help=f"may be repeated; {', '.join(KINDS)} by default")
    parser.add_argument("--each", type=int, default=60, help="pictures a kind, of either sort of caption")
    parser.add_argument("--instances", type=int, default=1, help="different things of a kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("out/pictures"))
    arguments = parser.parse_args()
    kinds = arguments.kind or list(KINDS)
    counts = write_captioned_images(arguments.out, kinds, arguments.each, arguments.instances, seed=arguments.seed)
    print(json.dumps({"benchmark": "view_pictures", "kinds": kinds, "captions": counts}, indent=2))


if __name__ == "__main__":
    main()
