"""Every family of priors under every guidance: twenty steps on tiny random weights, with the network refused.

    python -m benchmarks.families

Each family's pipeline is built offline (``tests/support/families.py``), saved, and loaded by the code that
loads the real ones: by its folder, and by a hub id from a cache made by hand. Prints JSON: the gradient norms
at the first and the last step, and whether all of them were finite and the field moved.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import socket
import tempfile
from pathlib import Path
from unittest import mock

import torch

from dreamfusion3d.core.config import BUILTIN_GUIDANCES, Config, PriorConfig, override_config
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.priors.protocol import Prior
from dreamfusion3d.priors.view_prompts import encode_prompts
from dreamfusion3d.training.distillation import distill_field

SIZE = 16
SETTINGS = {
    "optim.num_views": 2,
    "guidance.scale": 7.5,
    "prompts.perp_neg": 1.0,
    "render.resolution": SIZE,
    "render.coarse_resolution": SIZE,
    "render.step_size": 0.1,
    "render.occupancy_grid_resolution": 8,
    "field.num_levels": 2,
    "field.log2_table_size": 8,
    "field.hidden_dim": 8,
    "guidance.vsd_width": 8,
}


def distilled(prior: Prior, kind: str, steps: int) -> dict[str, object]:
    """A small field after some steps of a guidance."""
    config = override_config(Config(), {**SETTINGS, "optim.steps": steps, "guidance.type": kind})
    field = NerfField(config.field, generator=torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in field.state_dict().items()}
    text = encode_prompts(prior, "a red mug", config.prompts)
    taken = list(distill_field(field, prior, text, config, generator=torch.Generator().manual_seed(0)))
    norms = [step.gradient_norm for step in taken]
    return {
        "steps": len(taken),
        "first": float(f"{norms[0]:.3g}"),
        "last": float(f"{norms[-1]:.3g}"),
        "finite": all(map(math.isfinite, norms)) and not any(step.warning for step in taken),
        "moved": any(not torch.equal(value, before[name]) for name, value in field.state_dict().items()),
    }


def refuse(*_: object, **__: object) -> None:
    raise OSError("no network in this benchmark")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=20)
    steps = parser.parse_args().steps
    with tempfile.TemporaryDirectory() as work, mock.patch.object(socket.socket, "connect", refuse):
        hub = Path(work) / "hub"
        os.environ |= {"HF_HUB_CACHE": str(hub), "DREAMFUSION3D_CACHE": str(Path(work) / "texts")}
        from tests.support import families  # the hub's library reads its cache's place as it is imported

        rows = {}
        for family in families.FAMILIES:
            folder = families.build(family, Path(work) / family)
            name = families.cache(folder, hub, f"acme/{family}")
            by_folder, by_id = (load_prior(PriorConfig(name=n, resolution=SIZE)) for n in (str(folder), name))
            rows[family] = {
                "same_weights_by_id": by_folder.sha256 == by_id.sha256,
                **{kind: distilled(by_id, kind, steps) for kind in BUILTIN_GUIDANCES},
            }
    print(json.dumps({"benchmark": "families", "steps": steps, "families": rows}, indent=2))


if __name__ == "__main__":
    main()
