"""The manifest: CSV, JSONL or YAML, a row an asset. Every row is checked before anything runs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from dreamfusion3d.core.config import Config, did_you_mean, resolve_config, setting_types
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.slug import check_prompt

MAX_MANIFEST_BYTES = 32 << 20  # bytes of a manifest
MAX_MANIFEST_ROWS = 100_000
MAX_PROBLEM_CHARS = 400  # characters: a value may be a novel
MAX_SEED = 2**63 - 1
# Columns that stand for a setting, as the options of `generate` do.
COLUMN_SETTINGS = {
    "faces": "mesh.max_faces",
    "texture_size": "mesh.texture_size",
    "height": "mesh.height_m",
    "formats": "mesh.formats",
    "format": "mesh.formats",
    "lods": "mesh.num_lods",
    "collision": "mesh.collision",
    "refine": "mesh.refine_steps",
    "prior": "prior.name",
    "negative": "prompts.negative",
    "guidance": "guidance.type",
}
MANIFEST_COLUMNS = ("prompt", "name", "seed", "seeds", "quality", "preset", *COLUMN_SETTINGS)

Cells: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class ManifestRow:
    """A checked row. ``seeds`` are what it asks for; ``listed`` says that it named several itself."""

    line: int
    prompt: str
    name: str | None
    seeds: tuple[int, ...]
    has_seed_list: bool
    quality: str
    config: Config


class ManifestError(InputError):
    """All that is wrong with a manifest; ``problems`` has a line for each."""

    def __init__(self, problems: list[str], rows: Sequence[ManifestRow] = ()) -> None:
        self.rows = list(rows)  # with which nothing is wrong so far
        self.problems = [p if len(p) <= MAX_PROBLEM_CHARS else f"{p[:MAX_PROBLEM_CHARS]}..." for p in problems]
        super().__init__("; ".join(self.problems))


def read_manifest(path: Path, sets: Sequence[str] = ()) -> list[ManifestRow]:
    """The rows of a manifest; ``sets`` (KEY=VALUE) count for every row that does not say otherwise.

    Raises ManifestError with every problem and its line, InputError for ``sets`` that no row could have.
    """
    from dreamfusion3d.mesh.preflight import check_mesh_requirements

    check_mesh_requirements(resolve_config(sets=sets).mesh)  # once, not for every row
    text = _read_text(path)
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise ManifestError([f"{path}: a manifest is named .csv, .tsv, .jsonl or .yaml"])
    rows: list[ManifestRow] = []
    problems: list[str] = []
    try:
        for count, (line, header_line, cells) in enumerate(reader(text)):
            if count >= MAX_MANIFEST_ROWS:
                raise _UnreadableError(line, f"more than {MAX_MANIFEST_ROWS:,} rows; split the manifest")
            parsed = parse_row(line, cells, header_line, sets) if isinstance(cells, dict) else [(line, cells)]
            if isinstance(parsed, ManifestRow):
                rows.append(parsed)
            else:
                problems += [f"{path}:{problem_line}: {problem}" for problem_line, problem in parsed]
    except _UnreadableError as error:
        problems.append(f"{path}:{error.line}: {error}")
    if problems:
        # once each: all rows of a table have a mistyped header in common
        raise ManifestError(list(dict.fromkeys(problems)), rows)
    if not rows:
        raise ManifestError([f"{path}: no rows; give each asset a row with a prompt"])
    return rows


def parse_row(
    line: int, cells: Cells, header_line: int | None = None, sets: Sequence[str] = ()
) -> ManifestRow | list[tuple[int, str]]:
    """The row of these cells, or all that is wrong with them, each with its line. Empty cells are cells not
    given. ``named`` is the line that names the columns, where it is another than the row's own.
    """
    problems: list[str] = []
    column_problems: list[str] = []
    values: Cells = {}
    setting_fields = setting_types()
    for key, value in _flatten_cells(cells, problems).items():
        column_name = key if key in setting_fields else key.strip().lower().replace(" ", "_").replace("-", "_")
        if column_name not in setting_fields and column_name not in MANIFEST_COLUMNS:
            hint = did_you_mean(column_name, [*MANIFEST_COLUMNS, *setting_fields])
            column_problems.append(f"there is no column {key!r}{hint}")
        elif COLUMN_SETTINGS.get(column_name, column_name) in values:
            problems.append(f"{key!r} is given twice")
        else:
            values[COLUMN_SETTINGS.get(column_name, column_name)] = value
    prompt = _collect_error(problems, lambda: check_prompt(_text_cell(values.get("prompt", ""), "prompt")))
    name = _collect_error(problems, lambda: _text_cell(values["name"], "name") if "name" in values else None)
    seeds = _collect_error(problems, lambda: _parse_seeds(values))
    quality = str(values.get("quality", "standard"))
    config = _resolve_config(problems, quality, values, setting_fields, sets)
    if column_problems or problems or prompt is None or seeds is None or config is None:
        column_line = line if header_line is None else header_line
        return [(column_line, column) for column in column_problems] + [(line, problem) for problem in problems]
    return ManifestRow(line, prompt, name, seeds, "seeds" in values, quality, config)


def _resolve_config(
    problems: list[str], quality: str, values: Cells, setting_fields: Mapping[str, Any], sets: Sequence[str]
) -> Config | None:
    """Quality, preset, the batch's ``sets`` and the row's settings together; each wrong setting is a problem
    of its own."""
    preset = None if values.get("preset") is None else str(values["preset"])
    base = _collect_error(problems, lambda: resolve_config(quality, None, sets, preset=preset))
    if base is None:
        quality, preset = "standard", None  # the rest is looked at all the same
    overrides = {k.replace(".", "__"): v for k, v in values.items() if k in setting_fields}
    num_problems = len(problems)
    for key, value in overrides.items():
        # alone, so that one wrong value does not hide the next; rules over several are asked below
        _collect_error(
            problems, lambda key=key, value=value: resolve_config(quality, None, sets, preset=preset, **{key: value})
        )
    if len(problems) > num_problems:
        combined_problems: list[str] = []
        _collect_error(combined_problems, lambda: resolve_config(quality, None, sets, preset=preset, **overrides))
        if combined_problems:
            return None
        del problems[num_problems:]  # wrong alone, right together (optim.antipodal with optim.num_views)
    config = _collect_error(problems, lambda: resolve_config(quality, None, sets, preset=preset, **overrides))
    if config is not None:
        from dreamfusion3d.mesh.preflight import check_mesh_requirements

        _collect_error(problems, lambda: check_mesh_requirements(config.mesh))
    return config


def _collect_error(problems: list[str], compute: Any) -> Any:
    try:
        return compute()
    except InputError as error:
        problems.append(str(error))
        return None


def _flatten_cells(cells: Cells, problems: list[str]) -> Cells:
    """Dotted keys, with plain values or lists of them only; what is empty is left out."""
    flat: Cells = {}
    for key, value in cells.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        for name, v in inner:
            full_key = f"{key}.{name}" if name else str(key)
            parts = v if isinstance(v, list) else [v]
            if not all(part is None or isinstance(part, (str, int, float)) for part in parts):
                problems.append(f"{full_key!r} is neither a text, a number nor a list of them; quote it")
            elif isinstance(v, str) and not v.strip() and full_key != "prompt":
                continue
            elif v is not None:
                flat[full_key] = v.strip() if isinstance(v, str) else v
    return flat


def _text_cell(value: Any, what: str) -> str:
    if isinstance(value, (list, bool)):
        raise InputError(f"{what} = {value!r} is not a text")
    return check_prompt(str(value)) if what == "name" else str(value)


def _parse_seeds(values: Cells) -> tuple[int, ...]:
    if "seed" in values and "seeds" in values:
        raise InputError("both seed and seeds are given; leave one out")
    value = values.get("seeds", values.get("seed", 0))
    if isinstance(value, str):
        value = [part for part in value.replace(";", ",").replace(" ", ",").split(",") if part]
    seeds = []
    for part in value if isinstance(value, list) else [value]:
        try:
            seed = int(part) if isinstance(part, (str, int)) and not isinstance(part, bool) else -1
        except ValueError:
            seed = -1
        if not 0 <= seed <= MAX_SEED:
            raise InputError(f"the seed {part!r} is not a whole number between 0 and 2^63 - 1")
        seeds.append(seed)
    if not seeds or ("seed" in values and len(seeds) > 1):
        raise InputError("seed is one number; a list of them is called seeds" if seeds else "seeds is empty")
    if len(set(seeds)) < len(seeds):
        raise InputError("a seed stands twice in seeds")
    return tuple(seeds)


# --- the three formats ---------------------------------------------------------------------------

# its line, the line that names its columns, and the row, or what is wrong with it
_RowIterator: TypeAlias = "Iterator[tuple[int, int, Cells | str]]"


class _UnreadableError(Exception):
    """The file cannot be read on from this line."""

    def __init__(self, line: int, problem: str) -> None:
        self.line = line
        super().__init__(problem)


def _read_text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_MANIFEST_BYTES:
            raise ManifestError([f"{path}: {size >> 20} MB; a manifest has at most {MAX_MANIFEST_BYTES >> 20} MB"])
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ManifestError([f"cannot read the manifest {path}: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ManifestError([f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8"]) from None


def _read_csv(text: str) -> _RowIterator:
    first = text.split("\n", 1)[0]
    delimiter = next((d for d in ",;\t" if "prompt" in _column_names(first, d)), ",")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header: list[str] = []
    line = header_line = 1
    try:
        for values in reader:
            row_line, line = line, reader.line_num + 1
            if not any(value.strip() for value in values):
                continue
            if not header:
                header, header_line = [value.strip() for value in values], row_line
                _check_header(header, row_line)
            elif len(values) > len(header) and any(v.strip() for v in values[len(header) :]):
                message = f"{len(values)} cells under {len(header)} columns"
                yield row_line, header_line, f"{message}; quote text that holds {delimiter!r}"
            else:
                yield row_line, header_line, {key: v for key, v in zip(header, values, strict=False) if key}
    except csv.Error as error:
        raise _UnreadableError(line, f"not CSV: {error}") from None


def _column_names(line: str, delimiter: str) -> list[str]:
    return [part.strip().strip('"').strip().lower() for part in line.split(delimiter)]


def _check_header(header: list[str], line: int) -> None:
    column_names = [name.lower() for name in header if name]
    if "prompt" not in column_names:
        raise _UnreadableError(line, "the first line must name the columns, one of them 'prompt'")
    duplicates = {name for name in column_names if column_names.count(name) > 1}
    if duplicates:
        raise _UnreadableError(line, f"the column {min(duplicates)!r} stands twice")


def _read_jsonl(text: str) -> _RowIterator:
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: U+2028 may stand in a prompt
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=_reject_duplicate_keys)
        except (ValueError, RecursionError) as error:
            reason = "too deep" if isinstance(error, RecursionError) else str(error)
            yield number, number, f"not JSON: {reason}"
            continue
        row = value if isinstance(value, dict) else 'not an object such as {"prompt": "a mug"}'
        yield number, number, row


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> Cells:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def _read_yaml(text: str) -> _RowIterator:
    import yaml

    try:
        loader = yaml.SafeLoader(text)
    except yaml.YAMLError as error:
        raise _UnreadableError(1, f"not YAML: {_one_line(error)}") from None
    try:
        root = loader.get_single_node()
        if root is None:
            return
        if not isinstance(root, yaml.SequenceNode):
            raise _UnreadableError(root.start_mark.line + 1, "a YAML manifest is a list: '- prompt: a mug'")
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
        raise _UnreadableError(mark.line + 1 if mark else 1, f"not YAML: {reason}") from None
    except RecursionError:
        raise _UnreadableError(1, "not YAML: too deep") from None
    finally:
        loader.dispose()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


_READERS = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".json": _read_yaml,
}
