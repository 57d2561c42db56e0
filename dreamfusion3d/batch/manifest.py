"""The manifest: CSV, JSONL or YAML, a row an asset. Every row is checked before anything runs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from dreamfusion3d.core.config import Config, nearest, resolve, settings
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.slug import check_prompt

LARGEST = 32 << 20  # bytes of a manifest
MOST_ROWS = 100_000
LONGEST_PROBLEM = 400  # characters: a value may be a novel
LAST_SEED = 2**63 - 1
# Columns that stand for a setting, as the options of `generate` do.
SETTINGS = {
    "faces": "mesh.faces", "texture_size": "mesh.texture_size", "height": "mesh.height",
    "formats": "mesh.formats", "format": "mesh.formats", "lods": "mesh.lods",
    "collision": "mesh.collision", "refine": "mesh.refine_steps", "prior": "prior.name",
    "negative": "prompts.negative", "guidance": "guidance.kind",
}
COLUMNS = ("prompt", "name", "seed", "seeds", "quality", "preset", *SETTINGS)

Cells: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A checked row. ``seeds`` are what it asks for; ``listed`` says that it named several itself."""

    line: int
    prompt: str
    name: str | None
    seeds: tuple[int, ...]
    listed: bool
    quality: str
    config: Config


class ManifestError(InputError):
    """All that is wrong with a manifest; ``problems`` has a line for each."""

    def __init__(self, problems: list[str], rows: Sequence[Row] = ()) -> None:
        self.rows = list(rows)  # with which nothing is wrong so far
        self.problems = [p if len(p) <= LONGEST_PROBLEM else f"{p[:LONGEST_PROBLEM]}..." for p in problems]
        super().__init__("; ".join(self.problems))


def read(path: Path, sets: Sequence[str] = ()) -> list[Row]:
    """The rows of a manifest; ``sets`` (KEY=VALUE) count for every row that does not say otherwise.

    Raises ManifestError with every problem and its line, InputError for ``sets`` that no row could have.
    """
    from dreamfusion3d.mesh.preflight import check_wanted

    check_wanted(resolve(sets=sets).mesh)  # once, not for every row
    text = _text(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ManifestError([f"{path}: a manifest is named .csv, .tsv, .jsonl or .yaml"])
    rows: list[Row] = []
    problems: list[str] = []
    try:
        for count, (line, named, cells) in enumerate(reader(text)):
            if count >= MOST_ROWS:
                raise _BrokenError(line, f"more than {MOST_ROWS:,} rows; split the manifest")
            found = row_of(line, cells, named, sets) if isinstance(cells, dict) else [(line, cells)]
            if isinstance(found, Row):
                rows.append(found)
            else:
                problems += [f"{path}:{where}: {problem}" for where, problem in found]
    except _BrokenError as error:
        problems.append(f"{path}:{error.line}: {error}")
    if problems:
        # once each: all rows of a table have a mistyped header in common
        raise ManifestError(list(dict.fromkeys(problems)), rows)
    if not rows:
        raise ManifestError([f"{path}: no rows; give each asset a row with a prompt"])
    return rows


def row_of(
    line: int, cells: Cells, named: int | None = None, sets: Sequence[str] = ()
) -> Row | list[tuple[int, str]]:
    """The row of these cells, or all that is wrong with them, each with its line. Empty cells are cells not
    given. ``named`` is the line that names the columns, where it is another than the row's own.
    """
    problems: list[str] = []
    columns: list[str] = []
    given: Cells = {}
    known = settings()
    for key, value in _flat(cells, problems).items():
        plain = key if key in known else key.strip().lower().replace(" ", "_").replace("-", "_")
        if plain not in known and plain not in COLUMNS:
            hint = nearest(plain, [*COLUMNS, *known])
            columns.append(f"there is no column {key!r}{hint}")
        elif SETTINGS.get(plain, plain) in given:
            problems.append(f"{key!r} is given twice")
        else:
            given[SETTINGS.get(plain, plain)] = value
    prompt = _tried(problems, lambda: check_prompt(_word(given.get("prompt", ""), "prompt")))
    name = _tried(problems, lambda: _word(given["name"], "name") if "name" in given else None)
    seeds = _tried(problems, lambda: _seeds(given))
    quality = str(given.get("quality", "standard"))
    config = _config(problems, quality, given, known, sets)
    if columns or problems or prompt is None or seeds is None or config is None:
        where = line if named is None else named
        return [(where, column) for column in columns] + [(line, problem) for problem in problems]
    return Row(line, prompt, name, seeds, "seeds" in given, quality, config)


def _config(
    problems: list[str], quality: str, given: Cells, known: Mapping[str, Any], sets: Sequence[str]
) -> Config | None:
    """Quality, preset, the batch's ``sets`` and the row's settings together; each wrong setting is a problem
    of its own."""
    preset = None if given.get("preset") is None else str(given["preset"])
    base = _tried(problems, lambda: resolve(quality, None, sets, preset=preset))
    if base is None:
        quality, preset = "standard", None  # the rest is looked at all the same
    chosen = {k.replace(".", "__"): v for k, v in given.items() if k in known}
    before = len(problems)
    for key, value in chosen.items():
        # alone, so that one wrong value does not hide the next; rules over several are asked below
        _tried(
            problems, lambda key=key, value=value: resolve(quality, None, sets, preset=preset, **{key: value})
        )
    if len(problems) > before:
        whole: list[str] = []
        _tried(whole, lambda: resolve(quality, None, sets, preset=preset, **chosen))
        if whole:
            return None
        del problems[before:]  # wrong alone, right together (optim.antipodal with optim.views)
    config = _tried(problems, lambda: resolve(quality, None, sets, preset=preset, **chosen))
    if config is not None:
        from dreamfusion3d.mesh.preflight import check_wanted

        _tried(problems, lambda: check_wanted(config.mesh))
    return config


def _tried(problems: list[str], ask: Any) -> Any:
    try:
        return ask()
    except InputError as error:
        problems.append(str(error))
        return None


def _flat(cells: Cells, problems: list[str]) -> Cells:
    """Dotted keys, with plain values or lists of them only; what is empty is left out."""
    flat: Cells = {}
    for key, value in cells.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        for name, v in inner:
            whole = f"{key}.{name}" if name else str(key)
            parts = v if isinstance(v, list) else [v]
            if not all(part is None or isinstance(part, (str, int, float)) for part in parts):
                problems.append(f"{whole!r} is neither a text, a number nor a list of them; quote it")
            elif isinstance(v, str) and not v.strip() and whole != "prompt":
                continue
            elif v is not None:
                flat[whole] = v.strip() if isinstance(v, str) else v
    return flat


def _word(value: Any, what: str) -> str:
    if isinstance(value, (list, bool)):
        raise InputError(f"{what} = {value!r} is not a text")
    return check_prompt(str(value)) if what == "name" else str(value)


def _seeds(given: Cells) -> tuple[int, ...]:
    if "seed" in given and "seeds" in given:
        raise InputError("both seed and seeds are given; leave one out")
    value = given.get("seeds", given.get("seed", 0))
    if isinstance(value, str):
        value = [part for part in value.replace(";", ",").replace(" ", ",").split(",") if part]
    seeds = []
    for part in value if isinstance(value, list) else [value]:
        try:
            seed = int(part) if isinstance(part, (str, int)) and not isinstance(part, bool) else -1
        except ValueError:
            seed = -1
        if not 0 <= seed <= LAST_SEED:
            raise InputError(f"the seed {part!r} is not a whole number between 0 and 2^63 - 1")
        seeds.append(seed)
    if not seeds or ("seed" in given and len(seeds) > 1):
        raise InputError("seed is one number; a list of them is called seeds" if seeds else "seeds is empty")
    if len(set(seeds)) < len(seeds):
        raise InputError("a seed stands twice in seeds")
    return tuple(seeds)


# --- the three formats ---------------------------------------------------------------------------

# its line, the line that names its columns, and the row, or what is wrong with it
_Read: TypeAlias = "Iterator[tuple[int, int, Cells | str]]"


class _BrokenError(Exception):
    """The file cannot be read on from this line."""

    def __init__(self, line: int, problem: str) -> None:
        self.line = line
        super().__init__(problem)


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise ManifestError([f"{path}: {size >> 20} MB; a manifest has at most {LARGEST >> 20} MB"])
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ManifestError([f"cannot read the manifest {path}: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ManifestError([f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8"]) from None


def _csv(text: str) -> _Read:
    first = text.split("\n", 1)[0]
    delimiter = next((d for d in ",;\t" if "prompt" in _names(first, d)), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    line = named = 1
    try:
        for values in reader:
            begun, line = line, reader.line_num + 1
            if not any(value.strip() for value in values):
                continue
            if not header:
                header, named = [value.strip() for value in values], begun
                _check_header(header, begun)
            elif len(values) > len(header) and any(v.strip() for v in values[len(header):]):
                many = f"{len(values)} cells under {len(header)} columns"
                yield begun, named, f"{many}; quote text that holds {delimiter!r}"
            else:
                yield begun, named, {key: v for key, v in zip(header, values, strict=False) if key}
    except csv.Error as error:
        raise _BrokenError(line, f"not CSV: {error}") from None


def _names(line: str, delimiter: str) -> list[str]:
    return [part.strip().strip('"').strip().lower() for part in line.split(delimiter)]


def _check_header(header: list[str], line: int) -> None:
    named = [name.lower() for name in header if name]
    if "prompt" not in named:
        raise _BrokenError(line, "the first line must name the columns, one of them 'prompt'")
    twice = {name for name in named if named.count(name) > 1}
    if twice:
        raise _BrokenError(line, f"the column {min(twice)!r} stands twice")


def _jsonl(text: str) -> _Read:
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: U+2028 may stand in a prompt
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=_without_doubles)
        except (ValueError, RecursionError) as error:
            reason = "too deep" if isinstance(error, RecursionError) else str(error)
            yield number, number, f"not JSON: {reason}"
            continue
        row = value if isinstance(value, dict) else 'not an object such as {"prompt": "a mug"}'
        yield number, number, row


def _without_doubles(pairs: list[tuple[str, Any]]) -> Cells:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _yaml(text: str) -> _Read:
    import yaml

    try:
        loader = yaml.SafeLoader(text)
    except yaml.YAMLError as error:
        raise _BrokenError(1, f"not YAML: {_one_line(error)}") from None
    try:
        root = loader.get_single_node()
        if root is None:
            return
        if not isinstance(root, yaml.SequenceNode):
            raise _BrokenError(root.start_mark.line + 1, "a YAML manifest is a list: '- prompt: a mug'")
        for node in root.value:
            line = node.start_mark.line + 1
            try:
                value = loader.construct_document(node)
            except (yaml.YAMLError, ValueError, TypeError) as error:
                yield line, line, _one_line(error)
                continue
            yield line, line, value if isinstance(value, dict) else "not a row such as 'prompt: a mug'"
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        reason = getattr(error, "problem", None) or _one_line(error)
        raise _BrokenError(mark.line + 1 if mark else 1, f"not YAML: {reason}") from None
    except RecursionError:
        raise _BrokenError(1, "not YAML: too deep") from None
    finally:
        loader.dispose()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


_READERS = {
    ".csv": _csv, ".tsv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl,
    ".yaml": _yaml, ".yml": _yaml, ".json": _yaml,
}
