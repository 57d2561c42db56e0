"""Checkpoints that cannot be used are reported, and the run starts over."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.training.distillation import distill_field
from tests.support.oracle import OraclePrior
from tests.support.training import VSD, distill_oracle, distillation_config, make_field, same_parameters


@pytest.mark.parametrize("content", [b"", b"no tensors", None])
def test_optimization_state_load_starts_over_from_a_damaged_file(
    oracle_prior: OraclePrior, tmp_path: Path, content: bytes | None
) -> None:
    checkpoint = tmp_path / "checkpoint.safetensors"
    if content is None:  # an intact one, of a larger field
        larger = distillation_config(3, {"field.hidden_dim": 32})
        field = NerfField(larger.field, generator=torch.Generator())
        prompts = oracle_prior.encode_text(["", ""])
        options = {"sample_cameras": oracle_prior.sample_cameras, "checkpoint": checkpoint, "checkpoint_every": 2}
        list(distill_field(field, oracle_prior, prompts, larger, generator=torch.Generator(), **options))
        assert checkpoint.exists()
    else:
        checkpoint.write_bytes(content)
    undisturbed, field = make_field(), make_field()
    list(distill_oracle(oracle_prior, undisturbed, steps=3, checkpoint_every=2))
    steps = list(distill_oracle(oracle_prior, field, steps=3, checkpoint=checkpoint, checkpoint_every=2))
    assert [s.index for s in steps] == [1, 2, 3]
    assert steps[0].warning is not None and "starting over" in steps[0].warning
    assert checkpoint.name in steps[0].warning and steps[1].warning is None
    assert same_parameters(field, undisturbed)


def test_optimization_state_load_rejects_the_checkpoint_of_another_guidance(
    oracle_prior: OraclePrior, tmp_path: Path
) -> None:
    options = {"steps": 3, "checkpoint": tmp_path / "checkpoint.safetensors", "checkpoint_every": 2}
    list(distill_oracle(oracle_prior, make_field(), overrides=VSD, **options))
    steps = list(distill_oracle(oracle_prior, make_field(), **options))
    assert steps[0].index == 1 and "from another run" in (steps[0].warning or "")
