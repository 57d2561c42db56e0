from __future__ import annotations

import dataclasses
import typing
from pathlib import Path

import pytest

from dreamfusion3d.core import config as configs
from dreamfusion3d.core.config import (
    Config,
    MeshConfig,
    as_dict,
    digest,
    from_dict,
    presets,
    resolve,
    settings,
)
from dreamfusion3d.core.errors import InputError


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("optim: {steps: 7, views: 2}\nmesh.faces: 300\n")
    sets = ["optim.steps=8", "mesh.formats=obj, glb"]
    config = resolve("draft", file, sets, mesh__faces=400, mesh__height=None)
    assert (config.optim.steps, config.optim.views, config.mesh.faces) == (8, 2, 400)
    assert config.mesh.formats == ("obj", "glb")
    assert config.mesh.resolution == resolve("draft").mesh.resolution


@pytest.mark.parametrize("quality", configs.QUALITIES)
def test_round_trip_and_digest(quality: str) -> None:
    config = resolve(quality)
    assert from_dict(as_dict(config)) == config
    assert digest(config) == digest(resolve(quality)) != digest(resolve(quality, sets=["optim.steps=3"]))


def test_defaults_and_presets_are_in_range() -> None:
    assert set(configs.PRESETS) == set(configs.QUALITIES)
    for quality in configs.QUALITIES:
        configs.check(resolve(quality))
    assert resolve() == Config()


@pytest.mark.parametrize("name", presets.names())
def test_presets_resolve_and_say_where_their_values_are_from(name: str) -> None:
    config = resolve(preset=name)
    configs.check(config)
    text = presets.path(name).read_text(encoding="utf-8")
    assert "Source" in text and config != Config()
    comment = False
    for line in text.splitlines():
        setting = line.partition("#")[0].strip()
        if setting and not setting.endswith(":"):
            assert "#" in line or comment, f"{name}: {setting} has no source"
        comment = line.strip().startswith("#")


def test_presets_lie_between_quality_and_file(tmp_path: Path) -> None:
    assert presets.names() == [
        "dreamfusion-if", "dreamfusion-sd", "fast", "magic3d", "mvdream", "prolificdreamer",
    ]
    file = tmp_path / "run.yaml"
    file.write_text("optim: {steps: 7, views: 3}\n")
    config = resolve("draft", file, ["optim.views=2"], preset="prolificdreamer", guidance__kind="ism")
    assert (config.optim.steps, config.optim.views, config.guidance.kind) == (7, 2, "ism")
    assert config.guidance.scale == 7.5 and config.optim.mlp_rate == 0.001
    assert config.mesh.resolution == resolve("draft").mesh.resolution
    assert resolve("draft", preset="prolificdreamer").optim.steps == 25000
    with pytest.raises(InputError, match="dreamfusion-if"):
        resolve(preset="dreamfusion")


def test_every_number_has_a_range() -> None:
    for section, cls in typing.get_type_hints(Config).items():
        for item in dataclasses.fields(cls):
            if isinstance(item.default, (int, float)) and not isinstance(item.default, bool):
                assert "low" in item.metadata, f"{section}.{item.name}"


def test_every_value_can_be_set_from_its_own_text() -> None:
    tree = as_dict(Config())
    for key in settings():
        section, name = key.split(".")
        value = tree[section][name]
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        assert resolve(sets=[f"{key}={text}"]) == Config()


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["optim.stesp=3"], "did you mean 'optim.steps'"),
        (["steps=3"], "did you mean 'optim.steps'"),
        (["zzz.q=3"], "optim.steps"),
        (["optim=3"], "no setting 'optim'"),
        (["optim.steps"], "KEY=VALUE"),
        (["optim.steps=many"], "whole number"),
        (["optim.steps=2.5"], "whole number"),
        (["optim.steps=0"], "minimum is 1"),
        (["guidance.scale=nan"], "finite"),
        (["guidance.scale=1e9"], "maximum"),
        (["guidance.kind=sdx"], "one of sds"),
        (["mesh.faces=3"], "minimum is 100"),
        (["mesh.formats=glb,dae"], "one of glb, gltf"),
        (["mesh.formats="], "empty"),
        (["prior.name="], "text"),
        (["field.max_resolution=4"], "below"),
        (["optim.antipodal=true", "optim.views=3"], "even number"),
        (["guidance.schedule=never"], "window, dreamtime"),
    ],
)
def test_bad_sets_are_one_clear_line(sets: list[str], words: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve(sets=sets)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: [", "not YAML"), ("- 1", "sections"), ("optim: {steps: true}", "whole number"),
     ("optim: {steps: {a: 1}}", "whole number"), ("\x00", "not YAML"), ("1: 2", "no setting '1'")],
)
def test_bad_files_are_one_clear_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        resolve(file=file)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_quality() -> None:
    with pytest.raises(InputError, match="cannot read"):
        resolve(file=Path("nowhere.yaml"))
    with pytest.raises(InputError, match="draft, standard, high"):
        resolve("ultra")


def test_configs_made_by_hand_are_checked_too() -> None:
    with pytest.raises(InputError, match="minimum is 100"):
        configs.check(Config(mesh=MeshConfig(faces=3)))
