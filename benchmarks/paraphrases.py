"""Prompts that mean the same, as assets: are they the same?

    python -m benchmarks.paraphrases --out out/paraphrases
    python -m benchmarks.paraphrases --quality draft --pairs 10

Both prompts of every hand-written pair are made and compared: vertices, faces and texture to the bit, and,
where they differ, the kind that wins, the colours of the named parts, and the topology. Prints JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from functools import cache
from pathlib import Path

from dreamfusion3d.core.config import resolve_config
from dreamfusion3d.core.progress import default_progress
from dreamfusion3d.evaluation import prompt_lists
from dreamfusion3d.evaluation.color import evaluate_colors
from dreamfusion3d.evaluation.geometry import evaluate_geometry, nearest_reference
from dreamfusion3d.evaluation.ground_truth import colored_ground_truth_mesh
from dreamfusion3d.evaluation.subject import EvalSubject, load_subject
from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh
from dreamfusion3d.priors.image_text.prompt_spec import prompt_to_spec


def digest(asset: EvalSubject) -> str:
    """Of what is seen of the asset; its file differs by the prompt that it records."""
    mesh = asset.mesh
    parts = (mesh.vertices, mesh.faces, mesh.uv, mesh.texture)
    return hashlib.sha256(b"".join(part.tobytes() for part in parts)).hexdigest()


def judged(asset: EvalSubject) -> dict:
    """Kind, colours and topology."""
    meaning = prompt_to_spec(asset.prompt)
    assert meaning is not None, "every pair is of the procedural world"
    props = nearest_reference(asset, meaning)
    geometry = evaluate_geometry(asset, meaning)
    colours = evaluate_colors(asset, meaning, props, colored_ground_truth_mesh(props, 0, meaning, 72))
    return {
        "kind": meaning.category if geometry.category_correct else geometry.best_other_category,
        "colours": [c.correct for c in colours],
        "topology": [geometry.genus, geometry.components, geometry.watertight],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quality", default="standard")
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--pairs", type=int, help="only the first; all by default")
    parser.add_argument("--out", type=Path, default=Path("out/paraphrases"))
    arguments = parser.parse_args()
    config, progress = resolve_config(arguments.quality, None, arguments.sets), default_progress(quiet=False)

    @cache
    def made(prompt: str) -> EvalSubject:
        asset = text_to_mesh(prompt, out=arguments.out, seed=0, config=config, progress=default_progress(quiet=True))
        return load_subject(asset.folder)

    pairs = prompt_lists.load_paraphrases()[: arguments.pairs]
    progress.stage("pairs", 1, 1)
    same, alike, differ = 0, 0, []
    for i, pair in enumerate(pairs):
        first, second = (made(prompt) for prompt in pair)
        if digest(first) == digest(second):
            same += 1
        elif judged(first) == judged(second):
            alike += 1
        else:
            differ.append({prompt: judged(made(prompt)) for prompt in pair})
        progress.step(i + 1, len(pairs), pair[1])
    progress.close()
    print(
        json.dumps(
            {
                "benchmark": "paraphrases",
                "pairs": len(pairs),
                "same_to_the_bit": same,
                "same_kind_colours_topology": same + alike,
                "differ": differ,
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
