"""The command line: fast help, one-line errors for bad input, results alone on stdout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from dreamfusion3d import __version__
from dreamfusion3d.cli import generate, main, options, report
from dreamfusion3d.core.config import setting_types
from dreamfusion3d.pipelines import export, text_to_mesh
from dreamfusion3d.pipelines.asset_record import AssetRecord
from dreamfusion3d.pipelines.run_reader import FinishedRun
from dreamfusion3d.pipelines.workspace import Workspace

HEAVY = ("torch", "diffusers", "numba", "trimesh", "scipy", "nerfacc", "numpy", "cv2")


@pytest.mark.parametrize("module", ["generate", "main"])
@pytest.mark.parametrize("argument", ["--help", "--no-such-option"])
def test_help_does_not_import_heavy_packages(module: str, argument: str) -> None:
    code = (
        "import sys\n"
        f"from dreamfusion3d.cli.{module} import app\n"
        "from dreamfusion3d.cli.report import run_app\n"
        f"code = run_app(app, [{argument!r}])\n"
        f"print(code, [m for m in {HEAVY!r} if m in sys.modules])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == ("0 []" if argument == "--help" else "2 []")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([""], "empty"),
        (["x" * 10_000], "10,000"),
        (["a\x00mug"], "U+0000"),
        (["a mug", "--quality", "ultra"], "draft, standard, high"),
        (["a mug", "--faces", "3"], "minimum is 100"),
        (["a mug", "--faces", "many"], "integer"),
        (["a mug", "--height", "0"], "--height 0.0 is too small"),
        (["a mug", "--texture-size", "1"], "--texture-size 1 is too small"),
        (["a mug", "--set", "mesh.height_m=0"], "mesh.height_m = 0.0 is too small"),
        (["a mug", "--format", "glb,usd"], "did you mean 'usdz'?"),
        (["a mug", "--guidance", "magic"], "sds"),
        (["a mug", "--set", "optim.stesp=3"], "optim.steps"),
        (["a mug", "--set", "optim.steps=few"], "whole number"),
        (["a mug", "--config", "nowhere.yaml"], "nowhere.yaml"),
        (["a mug", "--seed", "-1"], "seed"),
        (["a mug", "--device", "abacus"], "auto, cpu, cuda"),
        (["a mug", "--device", "cuda:99"], "CUDA"),
        (["a mug", "--wings"], "--wings"),
        ([], "prompt"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert report.run_app(generate.app, [*arguments, "--out", str(out)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = [line for line in captured.err.splitlines() if not line.startswith("[1/")]
    assert len(lines) == 1 and lines[0].startswith("error: ")
    assert message in lines[0]
    assert not list(out.rglob("*")) if out.exists() else True


# An invalid value for each option, independent of the other settings.
INVALID_VALUES = {
    "--prior": "",
    "--negative-prompt": "",
    "--guidance": "magic",
    "--format": "usd",
    "--faces": "3",
    "--texture-size": "1",
    "--lods": "99",
    "--collision": "maybe",
    "--height": "0",
    "--refine": "-1",
    "--semantic-encoder": "me",
    "--clip-model": "",
    "--eval-images": "-1",
    "--up": "x",
    "--scale": "-1",
    "--offset": "1,2",
}


def options_for(command: str) -> set[str]:
    found = typer.main.get_command(main.app).commands[command]  # type: ignore[attr-defined]
    return {option for parameter in found.params for option in parameter.opts}


@pytest.mark.parametrize(
    ("command", "option"),
    [
        (command, option)
        for command in ("generate", "reconstruct", "export")
        for option in options.OPTION_SETTINGS
        if option in options_for(command) and option in INVALID_VALUES and (command, option) != ("export", "--up")
    ],
)
def test_errors_name_the_option_that_was_given(
    command: str, option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        export,
        "read_run",
        lambda _: FinishedRun(
            Workspace(tmp_path), "a mug", 0, "a_mug", "embedded", "", 1.0, ("glb",), tmp_path / "a_mug.glb", None
        ),
    )
    # the option overrides --set, so the error is the option's
    sets = [] if command == "export" else ["--set", f"{options.OPTION_SETTINGS[option]}=!"]
    assert report.run_app(main.app, [command, "a mug", *sets, option, INVALID_VALUES[option]]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith(f"error: {option} ") and captured.err.count("\n") == 1
    assert options.OPTION_SETTINGS[option] not in captured.err and captured.out == ""


def test_option_settings_all_have_an_invalid_value() -> None:
    assert set(options.OPTION_SETTINGS) - set(INVALID_VALUES) == {"--quads"}, "a flag, which has no invalid value"
    assert set(options.OPTION_SETTINGS.values()) <= set(setting_types())
    assert set(options.OPTION_SETTINGS) <= options_for("generate") | options_for("reconstruct")


def test_errors_name_the_setting_that_was_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("mesh: {max_faces: 3}\n")
    for arguments in (["--set", "mesh.max_faces=3"], ["--config", str(file)]):
        assert report.run_app(main.app, ["generate", "a mug", "--height", "2", *arguments]) == 2
        assert capsys.readouterr().err.startswith("error: mesh.max_faces = 3 is too small")


def test_out_must_not_be_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    for out in (blocked, blocked / "below"):
        assert report.run_app(generate.app, ["a mug", "--out", str(out)]) == 2
        assert "--out" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyboardInterrupt(), 130, "run the same command again"),
        (RuntimeError("odd\nthing"), 1, "odd thing (the traceback is"),
    ],
)
def test_run_app_maps_errors_to_exit_codes(
    error: BaseException, code: int, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(text_to_mesh, "text_to_mesh", fail)
    assert report.run_app(generate.app, ["a mug"]) == code
    captured = capsys.readouterr()
    assert message in captured.err and len(captured.err.splitlines()) == 1
    assert captured.out == ""


def test_generate_prints_only_the_result_on_stdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"mesh": {"formats": ["obj", "glb"]}}
    record = AssetRecord(prompt="a mug", seed=0, slug="a_mug", config=config, prior={}, files={})

    def fake(*_: object, **__: object) -> text_to_mesh.Asset:
        print("output of a library")
        return text_to_mesh.Asset(tmp_path / "a_mug", record)

    monkeypatch.setattr(text_to_mesh, "text_to_mesh", fake)
    assert report.run_app(generate.app, ["a mug"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'a_mug' / 'a_mug.glb'}\n"
    assert report.run_app(main.app, ["generate", "a mug", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["prompt"] == "a mug" and printed["folder"] == str(tmp_path / "a_mug")


def test_text2mesh_and_generate_are_one_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert report.run_app(main.app, []) == 2
    assert "generate" in capsys.readouterr().out
    for arguments in (["--help"], ["generate", "--help"]):
        assert report.run_app(main.app, arguments) == 0
    assert "--texture-size" in capsys.readouterr().out


def test_config_show_prints_a_valid_config_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from dreamfusion3d.core.config import resolve_config

    arguments = ["config", "show", "--quality", "draft", "--preset", "mvdream", "--set", "optim.steps=5"]
    assert report.run_app(main.app, arguments) == 0
    file = tmp_path / "run.yaml"
    file.write_text(capsys.readouterr().out)
    assert resolve_config(path=file) == resolve_config("draft", sets=["optim.steps=5"], preset="mvdream")
    assert report.run_app(main.app, ["config", "show", "--preset", "nothing"]) == 2
    captured = capsys.readouterr()
    assert not captured.out and "mvdream" in captured.err


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert report.run_app(main.app, ["--version"]) == 0
    assert capsys.readouterr().out == f"dreamfusion3d {__version__}\n"


def test_generate_checks_optional_packages_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "coacd", None)
    arguments = ["generate", "a mug", "--collision", "parts", "--out", str(tmp_path / "out")]
    assert report.run_app(main.app, arguments) == 2
    assert capsys.readouterr().err.count("\n") == 1 and not (tmp_path / "out").exists()
