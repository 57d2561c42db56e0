"""The code of docs/priors.md runs, and its prior supervises a field."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from dreamfusion3d.core.config import Config, override_config
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.priors.pretrained.families import FAMILIES
from dreamfusion3d.priors.protocol import Prior
from dreamfusion3d.priors.view_prompts import encode_prompts, prompt_warnings
from dreamfusion3d.training.distillation import distill_field

PAGE = (Path(__file__).parents[2] / "docs" / "priors.md").read_text(encoding="utf-8")


def test_example_prior_in_30_lines_supervises_a_field() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    namespace: dict[str, object] = {}
    exec(code, namespace)
    lines = [line for line in code.splitlines() if line.strip()]
    assert len(lines) <= 30
    prior = namespace["prior"]
    assert isinstance(prior, Prior)
    config = override_config(
        Config(),
        {
            "optim.steps": 3,
            "optim.num_views": 2,
            "render.resolution": 16,
            "render.coarse_resolution": 16,
            "render.step_size": 0.1,
            "render.occupancy_grid_resolution": 8,
            "field.num_levels": 2,
            "field.log2_table_size": 8,
            "field.hidden_dim": 8,
        },
    )
    assert prompt_warnings(prior, "a mug", config) == ["'a mug' will be a ball"]
    field = NerfField(config.field, generator=torch.Generator().manual_seed(0))
    text = encode_prompts(prior, "a mug", config.prompts)
    steps = list(distill_field(field, prior, text, config, generator=torch.Generator().manual_seed(0)))
    assert len(steps) == 3 and all(step.gradient_norm > 0 and step.warning is None for step in steps)


def test_table_names_every_family() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and "Pipeline`" in line]
    assert set(re.findall(r"`(\w+Pipeline)`", "".join(rows))) == set(FAMILIES)
