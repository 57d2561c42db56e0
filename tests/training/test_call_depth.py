"""The way from the command to the prior stays short enough to read."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest

import dreamfusion3d
from dreamfusion3d.cli.generate import generate
from dreamfusion3d.priors.pixel.prior import PixelPrior

ROOT = Path(dreamfusion3d.__file__).parent.parent


class ReachedPriorError(Exception):
    """Raised in place of the first prediction."""


def test_calls_from_the_command_to_the_prior(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[str] = []

    def denoise(*args: object, **kwargs: object) -> None:
        frames = [frame for frame in traceback.extract_stack() if Path(frame.filename).is_relative_to(ROOT)]
        calls.extend(frame.name for frame in frames if "tests" not in Path(frame.filename).relative_to(ROOT).parts)
        raise ReachedPriorError

    monkeypatch.setattr(PixelPrior, "denoise", denoise)
    with pytest.raises(ReachedPriorError):
        generate("a mug", out=tmp_path, quality="draft", quiet=True)
    calls = calls[calls.index("generate") :]
    loop, losses = calls.index("distill_field"), calls.index("distillation_losses")
    assert loop <= 5, f"from the command to the loop: {calls[: loop + 1]}"
    assert len(calls) - losses <= 6, f"from the losses of a step to Prior.denoise: {calls[losses:]}"
