"""Manifests: CSV, JSONL or YAML with one row per asset. All rows are checked before anything runs."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from dreamfusion3d.batch.manifest_formats import Cells, UnreadableError, read_rows
from dreamfusion3d.core.config import Config, did_you_mean, resolve_config, setting_types
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.slug import check_prompt

MAX_MANIFEST_BYTES = 32 << 20
MAX_MANIFEST_ROWS = 100_000
MAX_PROBLEM_CHARS = 400  # of a message, which may quote a long value
MAX_SEED = 2**63 - 1
# columns that set a setting, like the options of `generate`
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
    "negative_prompt": "prompts.negative",
    "guidance": "guidance.type",
}
MANIFEST_COLUMNS = ("prompt", "name", "seed", "seeds", "quality", "preset", *COLUMN_SETTINGS)

T = TypeVar("T")


@dataclass(frozen=True)
class ManifestRow:
    """A checked row. ``has_seed_list`` is True if the row itself lists its seeds."""

    line: int
    prompt: str
    name: str | None
    seeds: tuple[int, ...]
    has_seed_list: bool
    quality: str
    config: Config


class ManifestError(InputError):
    """All problems of a manifest, one line each in ``problems``; ``rows`` are the valid rows."""

    def __init__(self, problems: list[str], rows: Sequence[ManifestRow] = ()) -> None:
        self.rows = list(rows)
        self.problems = [p if len(p) <= MAX_PROBLEM_CHARS else f"{p[:MAX_PROBLEM_CHARS]}..." for p in problems]
        super().__init__("; ".join(self.problems))


def read_manifest(path: Path, sets: Sequence[str] = ()) -> list[ManifestRow]:
    """Read and check a manifest; ``sets`` (KEY=VALUE) are the defaults of every row.

    Raises:
        ManifestError: lists every problem with its line.
        InputError: ``sets`` are invalid for any row.
    """
    from dreamfusion3d.mesh.io.formats import check_mesh_requirements

    check_mesh_requirements(resolve_config(sets=sets).mesh)  # once, not for every row
    file_rows = read_rows(path.suffix, _read_text(path))
    if file_rows is None:
        raise ManifestError([f"{path}: unknown type of manifest; use .csv, .tsv, .jsonl or .yaml"])
    rows: list[ManifestRow] = []
    problems: list[str] = []
    try:
        for count, (line, header_line, cells) in enumerate(file_rows):
            if count >= MAX_MANIFEST_ROWS:
                raise UnreadableError(line, f"more than {MAX_MANIFEST_ROWS:,} rows; split the manifest")
            parsed = parse_row(line, cells, header_line, sets) if isinstance(cells, dict) else [(line, cells)]
            if isinstance(parsed, ManifestRow):
                rows.append(parsed)
            else:
                problems += [f"{path}:{problem_line}: {problem}" for problem_line, problem in parsed]
    except UnreadableError as error:
        problems.append(f"{path}:{error.line}: {error}")
    if problems:
        # without duplicates: every row of a table reports a mistyped header
        raise ManifestError(list(dict.fromkeys(problems)), rows)
    if not rows:
        raise ManifestError([f"{path}: no rows; add one row with a prompt per asset"])
    return rows


def parse_row(
    line: int, cells: Cells, header_line: int | None = None, sets: Sequence[str] = ()
) -> ManifestRow | list[tuple[int, str]]:
    """Check the cells of a row; returns the row, or its problems with their lines. Empty cells are ignored.

    ``header_line`` is the line that names the columns, if it is not the row's own.
    """
    problems, column_problems = list[str](), list[str]()
    values: Cells = {}
    setting_fields = setting_types()
    for key, value in _flatten_cells(cells, problems).items():
        column_name = key if key in setting_fields else key.strip().lower().replace(" ", "_").replace("-", "_")
        setting = COLUMN_SETTINGS.get(column_name, column_name)
        if column_name not in setting_fields and column_name not in MANIFEST_COLUMNS:
            hint = did_you_mean(column_name, [*MANIFEST_COLUMNS, *setting_fields])
            column_problems.append(f"unknown column {key!r}{hint}")
        elif setting in values:
            problems.append(f"{key!r} is given twice")
        else:
            values[setting] = value
    prompt = _collect_error(problems, lambda: check_prompt(_text_cell(values.get("prompt", ""), "prompt")))
    name = _collect_error(problems, lambda: _text_cell(values["name"], "name") if "name" in values else None)
    seeds = _collect_error(problems, lambda: _parse_seeds(values))
    quality = str(values.get("quality", "standard"))
    config = _resolve_config(problems, quality, values, setting_fields, sets)
    if column_problems or problems or prompt is None or seeds is None or config is None:
        return [(header_line or line, column) for column in column_problems] + [(line, problem) for problem in problems]
    return ManifestRow(line, prompt, name, seeds, "seeds" in values, quality, config)


def _resolve_config(
    problems: list[str], quality: str, values: Cells, setting_fields: Mapping[str, Any], sets: Sequence[str]
) -> Config | None:
    """Resolve quality, preset, ``sets`` and the row's settings; each invalid setting is reported separately."""
    preset = None if values.get("preset") is None else str(values["preset"])
    base = _collect_error(problems, lambda: resolve_config(quality, None, sets, preset=preset))
    if base is None:
        quality, preset = "standard", None  # to check the rest too
    overrides = {k.replace(".", "__"): v for k, v in values.items() if k in setting_fields}
    resolve = functools.partial(resolve_config, quality, None, sets, preset=preset)
    combined_problems: list[str] = []
    config = _collect_error(combined_problems, functools.partial(resolve, **overrides))
    if config is None:
        # one at a time, so that one invalid value does not hide the next
        separate_problems: list[str] = []
        for key, value in overrides.items():
            _collect_error(separate_problems, functools.partial(resolve, **{key: value}))
        problems += separate_problems or combined_problems
    else:
        from dreamfusion3d.mesh.io.formats import check_mesh_requirements

        _collect_error(problems, lambda: check_mesh_requirements(config.mesh))
    return config


def _collect_error(problems: list[str], compute: Callable[[], T]) -> T | None:
    try:
        return compute()
    except InputError as error:
        problems.append(str(error))
        return None


def _flatten_cells(cells: Cells, problems: list[str]) -> Cells:
    """Flatten nested cells to dotted keys with plain values or lists; drop empty ones."""
    flat: Cells = {}
    for key, value in cells.items():
        inner = value.items() if isinstance(value, dict) else [("", value)]
        for name, v in inner:
            full_key = f"{key}.{name}" if name else str(key)
            parts = v if isinstance(v, list) else [v]
            if not all(part is None or isinstance(part, (str, int, float)) for part in parts):
                problems.append(f"{full_key!r} is neither text, a number nor a list of them; quote it")
            elif isinstance(v, str) and not v.strip() and full_key != "prompt":
                continue
            elif v is not None:
                flat[full_key] = v.strip() if isinstance(v, str) else v
    return flat


def _text_cell(value: Any, what: str) -> str:
    if isinstance(value, (list, bool)):
        raise InputError(f"{what} = {value!r} is not text")
    return check_prompt(str(value)) if what == "name" else str(value)


def _parse_seeds(values: Cells) -> tuple[int, ...]:
    if "seed" in values and "seeds" in values:
        raise InputError("both seed and seeds are given; remove one")
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
            raise InputError(f"the seed {part!r} is not an integer from 0 to 2^63 - 1")
        seeds.append(seed)
    if not seeds or ("seed" in values and len(seeds) > 1):
        raise InputError("seed takes one number; use seeds for a list" if seeds else "seeds is empty")
    if len(set(seeds)) < len(seeds):
        raise InputError("seeds contains duplicates")
    return tuple(seeds)


def _read_text(path: Path) -> str:
    try:
        if (size := path.stat().st_size) > MAX_MANIFEST_BYTES:
            raise ManifestError([f"{path}: {size >> 20} MB; a manifest may have at most {MAX_MANIFEST_BYTES >> 20} MB"])
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ManifestError([f"cannot read the manifest {path}: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise ManifestError([f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8"]) from None
