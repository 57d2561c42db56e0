from __future__ import annotations

import dataclasses
import typing
from pathlib import Path

import pytest

from dreamfusion3d.core import config as configs
from dreamfusion3d.core.config import (
    Config,
    MeshConfig,
    config_from_dict,
    config_to_dict,
    presets,
    resolve_config,
    setting_types,
)
from dreamfusion3d.core.errors import InputError


def test_resolve_config_applies_later_sources_over_earlier_ones(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("optim: {steps: 7, num_views: 2}\nmesh.max_faces: 300\n")
    sets = ["optim.steps=8", "mesh.formats=obj, glb"]
    config = resolve_config("draft", file, sets, mesh__max_faces=400, mesh__height_m=None)
    assert (config.optim.steps, config.optim.num_views, config.mesh.max_faces) == (8, 2, 400)
    assert config.mesh.formats == ("obj", "glb")
    assert config.mesh.grid_resolution == resolve_config("draft").mesh.grid_resolution


@pytest.mark.parametrize("quality", configs.QUALITIES)
def test_config_from_dict_inverts_config_to_dict(quality: str) -> None:
    config = resolve_config(quality)
    assert config_from_dict(config_to_dict(config)) == config


def test_check_config_accepts_every_quality() -> None:
    assert set(configs.QUALITY_PRESETS) == set(configs.QUALITIES)
    for quality in configs.QUALITIES:
        configs.check_config(resolve_config(quality))
    assert resolve_config() == Config()


@pytest.mark.parametrize("name", presets.preset_names())
def test_resolve_config_takes_presets_whose_values_name_their_source(name: str) -> None:
    config = resolve_config(preset=name)
    configs.check_config(config)
    text = presets.preset_path(name).read_text(encoding="utf-8")
    assert "Source" in text and config != Config()
    comment = False
    for line in text.splitlines():
        setting = line.partition("#")[0].strip()
        if setting and not setting.endswith(":"):
            assert "#" in line or comment, f"{name}: {setting} has no source"
        comment = line.strip().startswith("#")


def test_resolve_config_applies_presets_between_quality_and_file(tmp_path: Path) -> None:
    assert presets.preset_names() == [
        "dreamfusion-if",
        "dreamfusion-sd",
        "fast",
        "magic3d",
        "mvdream",
        "prolificdreamer",
    ]
    file = tmp_path / "run.yaml"
    file.write_text("optim: {steps: 7, num_views: 3}\n")
    config = resolve_config("draft", file, ["optim.num_views=2"], preset="prolificdreamer", guidance__type="ism")
    assert (config.optim.steps, config.optim.num_views, config.guidance.type) == (7, 2, "ism")
    assert config.guidance.scale == 7.5 and config.optim.lr_mlp == 0.001
    assert config.mesh.grid_resolution == resolve_config("draft").mesh.grid_resolution
    assert resolve_config("draft", preset="prolificdreamer").optim.steps == 25000
    with pytest.raises(InputError, match="dreamfusion-if"):
        resolve_config(preset="dreamfusion")


def test_config_bounds_every_number() -> None:
    for section, cls in typing.get_type_hints(Config).items():
        for item in dataclasses.fields(cls):
            if isinstance(item.default, (int, float)) and not isinstance(item.default, bool):
                assert "low" in item.metadata, f"{section}.{item.name}"


def test_resolve_config_reads_every_setting_from_its_printed_value() -> None:
    tree = config_to_dict(Config())
    for key in setting_types():
        section, name = key.split(".")
        value = tree[section][name]
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        assert resolve_config(sets=[f"{key}={text}"]) == Config()


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        (["optim.stesp=3"], "did you mean 'optim.steps'"),
        (["steps=3"], "did you mean 'optim.steps'"),
        (["zzz.q=3"], "optim.steps"),
        (["optim=3"], "unknown setting 'optim'"),
        (["optim.steps"], "KEY=VALUE"),
        (["optim.steps=many"], "whole number"),
        (["optim.steps=2.5"], "whole number"),
        (["optim.steps=-1"], "minimum is 0"),
        (["guidance.scale=nan"], "finite"),
        (["guidance.scale=1e9"], "maximum"),
        (["guidance.type=sdx"], "one of sds"),
        (["mesh.max_faces=3"], "minimum is 100"),
        (["mesh.formats=glb,dae"], "one of glb, gltf"),
        (["mesh.formats="], "empty"),
        (["prior.name="], "non-empty string"),
        (["field.max_resolution=4"], "below"),
        (["optim.antipodal=true", "optim.num_views=3"], "even optim.num_views"),
        (["guidance.schedule=never"], "window, dreamtime"),
    ],
)
def test_resolve_config_reports_bad_sets_in_one_line(sets: list[str], words: str) -> None:
    with pytest.raises(InputError) as caught:
        resolve_config(sets=sets)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "not valid YAML"),
        ("- 1", "sections"),
        ("optim: {steps: true}", "whole number"),
        ("optim: {steps: {a: 1}}", "whole number"),
        ("\x00", "not valid YAML"),
        ("1: 2", "unknown setting '1'"),
    ],
)
def test_resolve_config_reports_bad_files_in_one_line(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        resolve_config(path=file)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_resolve_config_reports_missing_file_and_unknown_quality() -> None:
    with pytest.raises(InputError, match="cannot read"):
        resolve_config(path=Path("nowhere.yaml"))
    with pytest.raises(InputError, match="draft, standard, high"):
        resolve_config("ultra")


def test_check_config_checks_configs_made_by_hand() -> None:
    with pytest.raises(InputError, match="minimum is 100"):
        configs.check_config(Config(mesh=MeshConfig(max_faces=3)))
