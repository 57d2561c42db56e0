"""A small sample of the fuzzing targets of benchmarks.reliability.fuzz."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings as options

from dreamfusion3d.core.config import resolve_config
from dreamfusion3d.core.errors import InputError
from tests.support.fuzzing import TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_hostile_input(name: str, tmp_path: Path) -> None:
    inputs, check, _ = TARGETS[name]

    @options(
        max_examples=40,
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
        deadline=None,  # the benchmark measures time; here, imports and other tests would disturb it
    )
    @given(inputs)
    def check_drawn(drawn: object) -> None:
        folder = tmp_path / "in"
        folder.mkdir(exist_ok=True)
        check(drawn, folder)
        assert [p.name for p in tmp_path.iterdir()] == ["in"]

    check_drawn()


def test_resolve_config_survives_hostile_yaml(tmp_path: Path) -> None:
    path = tmp_path / "bomb.yaml"
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    path.write_text("\n".join([*lines, "optim: {steps: *a11}"]))
    with pytest.raises(InputError) as error:
        resolve_config(path=path)
    assert len(str(error.value)) < 5000
    path.write_text("optim: {steps: &a [1]}\nmesh: {max_faces: 3, formats: [[[[]]]]}\n" + "[" * 5000)
    with pytest.raises(InputError):
        resolve_config(path=path)
    path.write_text("#" * (2 << 20))
    with pytest.raises(InputError, match="the limit is"):
        resolve_config(path=path)
