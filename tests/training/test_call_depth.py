"""The way from the command to the prior stays short enough to read."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

import dreamfusion3d
from dreamfusion3d.cli.generate import generate
from dreamfusion3d.priors.pixel.prior import PixelPrior

PACKAGE = Path(dreamfusion3d.__file__).parent
CODE = {PACKAGE, PACKAGE.parent / "cli"}


class ReachedPriorError(Exception):
    """Raised in place of the first prediction."""


def test_calls_from_the_command_to_the_prior(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[str] = []

    def denoise(*args: object, **kwargs: object) -> None:
        calls.extend(f.name for f in traceback.extract_stack() if CODE.intersection(Path(f.filename).parents))
        raise ReachedPriorError

    monkeypatch.setattr(PixelPrior, "denoise", denoise)
    with pytest.raises(ReachedPriorError):
        generate("a mug", out=tmp_path, quality="draft", sets=["field.init=volume"], quiet=True)
    calls = calls[calls.index("generate") :]
    loop, losses = calls.index("distill_field"), calls.index("distillation_losses")
    assert loop <= 5, f"from the command to the loop: {calls[: loop + 1]}"
    assert len(calls) - losses <= 6, f"from the losses of a step to Prior.denoise: {calls[losses:]}"
