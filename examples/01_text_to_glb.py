"""Generate a GLB from a text prompt: `text2mesh` as a function.

python examples/01_text_to_glb.py "a red mug with one handle" --quality draft
"""

from __future__ import annotations

import argparse
from pathlib import Path

from dreamfusion3d import resolve_config, text_to_mesh
from dreamfusion3d.core.progress import default_progress


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("prompt", nargs="?", default="a pitcher with one handle")
    parser.add_argument("--quality", default="standard")
    parser.add_argument("--out", type=Path, default=Path("out"))
    parser.add_argument("--set", action="append", default=[], dest="sets", help="e.g. optim.steps=800")
    options = parser.parse_args()

    # the library never prints to stdout; default_progress writes to stderr
    config = resolve_config(options.quality, sets=options.sets)
    asset = text_to_mesh(options.prompt, out=options.out, seed=0, config=config, progress=default_progress())
    mesh = asset.record.mesh
    print(f"{asset.main_file}: {mesh['faces']:,} faces, genus {mesh['genus']}, checks passed: {asset.passed}")


if __name__ == "__main__":
    main()
