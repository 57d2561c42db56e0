"""Manifests: every row is checked first, and all problems are reported at once, with their lines."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from dreamfusion3d.batch import plan, state
from dreamfusion3d.batch.manifest import ManifestError, read_manifest
from dreamfusion3d.batch.plan import Item, expand_rows, select_shard
from dreamfusion3d.cli import main, report
from dreamfusion3d.core.config import Config, resolve_config
from dreamfusion3d.core.errors import InputError

CSV = """\
prompt,name,seed,quality,faces,texture size,height,formats,optim.steps
"a red mug, with one handle",,3,draft,5000,512,0.1,"glb,obj",
a pink donut,Torus,,,,,,,7
"""
JSONL = """\
{"prompt": "a red mug, with one handle", "seed": 3, "quality": "draft", "faces": 5000, "texture_size": 512, \
"height": 0.1, "formats": ["glb", "obj"]}

{"prompt": "a pink donut", "name": "Torus", "optim": {"steps": 7}}
"""
YAML = """\
# two assets
- {prompt: "a red mug, with one handle", seed: 3, quality: draft, faces: 5000, texture size: 512,
   height: 0.1, formats: [glb, obj]}
- prompt: a pink donut
  name: Torus
  optim.steps: 7
"""


def manifest(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(path: Path) -> list[str]:
    with pytest.raises(ManifestError) as caught:
        expand_rows(path, read_manifest(path))
    return [p.removeprefix(f"{path}") for p in caught.value.problems]


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("m.csv", CSV, (2, 3)),
        ("m.csv", "\ufeff" + CSV, (2, 3)),
        ("m.jsonl", JSONL, (1, 3)),
        ("m.yaml", YAML, (2, 4)),
        ("m.tsv", "prompt\tseed\na mug\t1\n\na cup\t2\n", (2, 4)),
        ("m.csv", 'prompt;seed\n"a\nmug";1\na cup;2\n', (2, 4)),
    ],
)
def test_read_manifest_agrees_for_all_formats(name: str, text: str, lines: tuple[int, int], tmp_path: Path) -> None:
    rows = read_manifest(manifest(tmp_path, name, text))
    assert tuple(row.line for row in rows) == lines
    if "donut" in text:
        first, second = expand_rows(tmp_path / name, rows)
        assert first.config == resolve_config(
            "draft", mesh__max_faces=5000, mesh__texture_size=512, mesh__height_m=0.1, mesh__formats=["glb", "obj"]
        )
        assert (first.name, first.seed) == ("a_red_mug_with_one_handle", 3)
        assert (second.name, second.seed, second.config) == ("torus", 0, resolve_config(optim__steps=7))


def test_read_manifest_reports_every_problem_with_its_line(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        "m.csv",
        (
            "prompt,name,seed,quality,faces,optim.steps\n"
            ",,,,,\n"  # an empty line is ignored
            '"",one,,,,\n'
            "a mug,,-1,ultra,,\n"
            "a mug,,,draft,3,none\n"
            "a mug,,1,,,,,8\n"
            "fine,,,,,\n"
        ),
    )
    found = problems(path)
    assert [p.split(": ")[0] for p in found] == [":3", ":4", ":4", ":5", ":5", ":6"]
    for problem, words in zip(
        found,
        ["empty", "seed '-1'", "draft, standard, high", "mesh.max_faces = 3", "optim.steps", "8 cells"],
        strict=True,
    ):
        assert words in problem


def test_read_manifest_sets_are_defaults(tmp_path: Path) -> None:
    text = "prompt,quality,faces,preset\na mug,draft,700,\na cup,high,,fast\n"
    path = manifest(tmp_path, "m.csv", text)
    sets = ["mesh.max_faces=900", "optim.steps=7"]
    mug, cup = read_manifest(path, sets)
    assert mug.config == resolve_config("draft", None, sets, mesh__max_faces=700)
    assert cup.config == resolve_config("high", None, sets, preset="fast")
    assert (cup.config.mesh.max_faces, cup.config.optim.steps) == (900, 7)
    for wrong, words in (("mesh.max_faces=3", "mesh.max_faces = 3"), ("faces=900", "unknown setting"), ("x", "KEY")):
        with pytest.raises(InputError, match=words) as caught:
            read_manifest(path, [wrong])
        assert not isinstance(caught.value, ManifestError), "reported once, without a row"
    # conflicts are reported for the row
    odd = manifest(tmp_path, "n.csv", "prompt,optim.num_views\na mug,4\na cup,3\n")
    with pytest.raises(ManifestError, match=":3: optim.antipodal needs an even"):
        read_manifest(odd, ["optim.antipodal=true"])


def test_dry_run_applies_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = manifest(tmp_path, "m.csv", "prompt,optim.steps\na red mug,\na blue mug,9\n")
    words = ["batch", str(path), "--out", str(tmp_path / "out"), "--dry-run", "--json"]
    assert report.run_app(main.app, [*words, "--set", "optim.steps=5", "--set", "mesh.max_faces=600"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["steps"], row["faces"]) for row in rows[:2]] == [(5, 600), (9, 600)]
    assert report.run_app(main.app, [*words, "--set", "mesh.max_faces=3"]) == 2
    assert capsys.readouterr().err == "error: mesh.max_faces = 3 is too small; the minimum is 100\n"


def test_read_manifest_reports_an_unknown_column_once(tmp_path: Path) -> None:
    rows = "".join(
        f"a mug,{faces},{color}\n" for faces, color in [(500, "red"), (3, "blue"), (600, ""), ("many", "green")]
    )
    found = problems(manifest(tmp_path, "m.csv", f"\nprompt,fases,colour\n{rows}"))
    assert [p.split(": ")[0] for p in found] == [":2", ":2"]
    assert "'fases'; did you mean 'faces'?" in found[0] and "'colour'" in found[1]
    found = problems(manifest(tmp_path, "m.csv", f"prompt,faces,colour\n{rows}"))
    assert [p.split(": ")[0] for p in found] == [":1", ":3", ":5"]
    # keys of JSONL and YAML are each row's own
    found = problems(manifest(tmp_path, "m.jsonl", '{"prompt": "a mug", "fases": 500}\n' * 2))
    assert [p.split(": ")[0] for p in found] == [":1", ":2"]
    # an empty unknown column is ignored
    assert len(read_manifest(manifest(tmp_path, "m.csv", "prompt,notes\na mug,\n"))) == 1


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("m.csv", "prompt,prompts\na,b\n", ":1: unknown column 'prompts'; did you mean 'prompt'?"),
        ("m.csv", "name\nx\n", ":1: the first line must name the columns"),
        ("m.csv", "prompt,prompt\na,b\n", "duplicate column"),
        ("m.csv", "prompt,faces,mesh.max_faces\na mug,500,600\n", "given twice"),
        ("m.csv", 'prompt\n"a mug\n', "not CSV"),
        ("m.csv", "", "no rows"),
        ("m.csv", "prompt,seed,seeds\na mug,1,2\n", "remove one"),
        ("m.csv", 'prompt,seed\na mug,"1,2"\n', "use seeds for a list"),
        ("m.csv", 'prompt,seeds\na mug,"1,1"\n', "duplicates"),
        ("m.csv", "prompt,name\na mug,x\na cup,X\n", ":3: the folder 'x' is that of line 2"),
        ("m.csv", "prompt,seed\na mug,1\na cup,1\na mug,1\n", ":4: the same asset as in line 2"),
        ("m.csv", "prompt,preset\na mug,nothing\n", "unknown preset"),
        ("m.jsonl", '{"prompt": "a mug"}\n{"prompt": \n[1]\n', ":2: not JSON"),
        ("m.jsonl", '{"prompt": "a mug", "prompt": "b"}', "duplicate key"),
        ("m.jsonl", '{"prompt": "a mug", "height": NaN}', "finite"),
        ("m.jsonl", '{"prompt": "a mug", "faces": {"a": {"b": 1}}}', "neither text"),
        ("m.jsonl", '{"prompt": ' + "[" * 100_000, "not JSON: nested too deeply"),
        ("m.yaml", "- prompt: a mug\n- !!python/object/apply:os.system [ls]\n", ":2: could not determine"),
        ("m.yaml", "prompt: a mug\n", ":1: a YAML manifest must be a list"),
        ("m.yaml", "- prompt: [a\n", "not YAML"),
        ("m.yaml", "- prompt: a mug\n  name: 2024-01-01\n", "quote it"),
        ("m.yaml", "- prompt: a\x00mug\n", "not YAML"),
        ("m.txt", "a mug\n", "use .csv"),
    ],
)
def test_read_manifest_rejects(name: str, text: str, words: str, tmp_path: Path) -> None:
    found = problems(manifest(tmp_path, name, text))
    assert any(words in problem for problem in found), found
    assert all(len(problem) < 500 for problem in found)


def test_read_manifest_reports_unreadable_files(tmp_path: Path) -> None:
    assert "No such file" in problems(tmp_path / "none.csv")[0]
    (tmp_path / "latin.csv").write_bytes("prompt\na caf\xe9\n".encode("latin-1"))
    assert "UTF-8" in problems(tmp_path / "latin.csv")[0]


def test_expand_rows_gives_every_item_its_own_folder(tmp_path: Path) -> None:
    path = manifest(
        tmp_path,
        "m.jsonl",
        "\n".join(
            json.dumps(row)
            for row in [
                {"prompt": "a mug"},
                {"prompt": "a mug", "seed": 1},
                {"prompt": "A mug!"},
                {"prompt": "b", "name": "../../x"},
                {"prompt": "c", "name": "CON"},
                {"prompt": "d", "name": "n" * 300},
                {"prompt": "e", "name": "\N{SLICE OF PIZZA}"},
                {"prompt": "f", "seeds": [4, 5]},
                {"prompt": "a mug", "seed": 2, "name": "a mug"},
                {"prompt": "g", "name": ".batch"},
            ]
        ),
    )
    items = expand_rows(path, read_manifest(path))
    names = [item.name for item in items]
    assert len(set(names)) == len(items) == 11
    assert all(0 < len(n) <= 64 and n.replace("_", "").isalnum() and n.isascii() for n in names)
    assert names[3] == "x" and names[4].startswith("con_") and names[7:9] == ["f_s4", "f_s5"]
    assert names[9] == "a_mug", "a chosen name wins over a prompt"
    # appending a row does not change the folders of the others
    longer = read_manifest(manifest(tmp_path, "n.jsonl", path.read_text() + '\n{"prompt": "a mug", "seed": 9}'))
    assert [item.name for item in expand_rows(path, longer)][:11] == names


def test_expand_rows_and_select_shard(tmp_path: Path) -> None:
    path = manifest(tmp_path, "m.csv", 'prompt,seed,seeds\na,5,\nb,,\nc,,"8,9"\nd,,\n')
    items = expand_rows(path, read_manifest(path), 3)
    assert [(i.prompt, i.seed) for i in items] == [
        *(("a", s) for s in (5, 6, 7)),
        *(("b", s) for s in (0, 1, 2)),
        ("c", 8),
        ("c", 9),
        *(("d", s) for s in (0, 1, 2)),
    ]
    parts = [select_shard(items, f"{k}/3") for k in (1, 2, 3)]
    assert sorted(i.name for part in parts for i in part) == sorted(i.name for i in items)
    assert {i.prompt for i in parts[0]} == {"a", "d"}
    for wrong in ("0/3", "4/3", "1", "a/b", "1/0"):
        with pytest.raises(InputError, match="K/N"):
            select_shard(items, wrong)


def test_reproduction_command_has_the_same_config() -> None:
    config = resolve_config(
        "draft",
        preset="prolificdreamer",
        sets=["guidance.t_range_start=0.2,0.9", "prompts.negative=it's bad"],
        mesh__formats="glb,obj",
    )
    words = shlex.split(state.reproduction_command(Item("x", 'a "mug"; rm', 3, config, "draft", 1, 0)))
    assert words[:6] == ["text2mesh", 'a "mug"; rm', "--seed", "3", "--quality", "draft"]
    assert words[6::2] == ["--set"] * (len(words[6:]) // 2)
    assert resolve_config("draft", sets=words[7::2]) == config


def test_estimate_cost_grows_with_the_work(tmp_path: Path) -> None:
    def item(config: Config) -> Item:
        return Item("x", "a", 0, config, "standard", 1, 0)

    draft, high = (plan.estimate_cost([item(resolve_config(q))], tmp_path) for q in ("draft", "high"))
    assert draft.seconds and high.seconds and draft.seconds < high.seconds and draft.bytes < high.bytes
    twice = plan.estimate_cost([item(resolve_config("draft"))] * 2, tmp_path)
    assert twice.seconds == 2 * draft.seconds
    assert plan.estimate_cost([item(resolve_config(sets=["prior.name=models/sd"]))], tmp_path).seconds is None


def test_batch_command_reports_all_problems_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Problems of rows alone, between rows, and with their prior, in order of lines."""
    monkeypatch.setitem(sys.modules, "coacd", None)
    path = manifest(
        tmp_path,
        "m.csv",
        (
            "prompt,name,seed,quality,faces,prior,collision\n"
            "a red mug,mug,0,,,,\n"
            "a flying spaghetti monster,,,,,,\n"
            "a blue mug,mug,,,,,\n"
            "a chair,,,drft,50,,\n"
            "a table,,,,,nope,\n"
            "a lamp,,,,,,parts\n"
        ),
    )
    for more in (("--dry-run",), ()):
        assert report.run_app(main.app, ["batch", str(path), "--out", str(tmp_path / "out"), *more]) == 2
        errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        expected = (
            (3, "knows no noun"),
            (4, "the folder 'mug' is that of line 2"),
            (5, "draft, standard, high"),
            (5, "mesh.max_faces = 50"),
            (6, "there is no prior folder nope"),
            (7, "dreamfusion3d[collision]"),
        )
        for line, (number, words) in zip(errors, expected, strict=True):
            assert f":{number}: " in line and words in line
    assert not (tmp_path / "out").exists()


def test_retry_rejected_needs_an_existing_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = manifest(tmp_path, "m.csv", "prompt\na mug\n"), tmp_path / "out"
    assert report.run_app(main.app, ["batch", str(path), "--out", str(out), "--retry-rejected"]) == 2
    assert "is not the folder of a batch" in capsys.readouterr().err and not out.exists()
