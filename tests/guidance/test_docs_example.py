"""Runs the example of docs/guidance.md as printed."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from dreamfusion3d.guidance import FunctionGuidance
from tests.support.mixture import WINDOW, distill_particles, square_mixture

PAGE = Path(__file__).parents[2] / "docs" / "guidance.md"


def test_load_guidance_docs_example_reaches_a_mode() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(code.strip().splitlines()) <= 20
    names: dict = {}
    exec(code, names)
    mixture = square_mixture()
    x = distill_particles(
        mixture,
        WINDOW,
        particles=16,
        steps=200,
        rate=0.03,
        generator=torch.Generator().manual_seed(0),
        guidance=FunctionGuidance(names["clipped"]),
    )
    assert float(torch.cdist(x, mixture.means[:2]).min(1).values.median()) < 0.25
