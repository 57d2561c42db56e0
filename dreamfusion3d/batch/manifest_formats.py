"""Readers of manifest files: CSV, JSONL and YAML."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

Cells: TypeAlias = dict[str, Any]
# line of the row, line that names its columns, and the row or what is wrong with it
RowIterator: TypeAlias = Iterator[tuple[int, int, Cells | str]]


class UnreadableError(Exception):
    """The file cannot be read beyond ``line``."""

    def __init__(self, line: int, problem: str) -> None:
        self.line = line
        super().__init__(problem)


def read_rows(suffix: str, text: str) -> RowIterator | None:
    """Read rows lazily, in the format of a file name's suffix (None if unknown). May raise UnreadableError."""
    reader = _READERS.get(suffix.lower())
    return None if reader is None else reader(text)


def _read_csv(text: str) -> RowIterator:
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
                message = f"{len(values)} cells for {len(header)} columns"
                yield row_line, header_line, f"{message}; quote text that contains {delimiter!r}"
            else:
                yield row_line, header_line, {key: v for key, v in zip(header, values, strict=False) if key}
    except csv.Error as error:
        raise UnreadableError(line, f"not CSV: {error}") from None


def _column_names(line: str, delimiter: str) -> list[str]:
    return [part.strip().strip('"').strip().lower() for part in line.split(delimiter)]


def _check_header(header: list[str], line: int) -> None:
    column_names = [name.lower() for name in header if name]
    if "prompt" not in column_names:
        raise UnreadableError(line, "the first line must name the columns, one of them 'prompt'")
    duplicates = {name for name in column_names if column_names.count(name) > 1}
    if duplicates:
        raise UnreadableError(line, f"duplicate column {min(duplicates)!r}")


def _read_jsonl(text: str) -> RowIterator:
    for number, line in enumerate(text.split("\n"), 1):  # not splitlines: prompts may contain U+2028
        if not line.strip():
            continue
        try:
            value = json.loads(line, object_pairs_hook=_reject_duplicate_keys)
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            yield number, number, f"not JSON: {reason}"
            continue
        yield number, number, value if isinstance(value, dict) else 'not an object such as {"prompt": "a mug"}'


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> Cells:
    cells = dict(pairs)
    if len(cells) < len(pairs):
        raise ValueError("duplicate key")
    return cells


def _read_yaml(text: str) -> RowIterator:
    import yaml

    try:
        loader = yaml.SafeLoader(text)
    except yaml.YAMLError as error:
        raise UnreadableError(1, f"not YAML: {_one_line(error)}") from None
    try:
        root = loader.get_single_node()
        if root is None:
            return
        if not isinstance(root, yaml.SequenceNode):
            raise UnreadableError(root.start_mark.line + 1, "a YAML manifest must be a list: '- prompt: a mug'")
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
        raise UnreadableError(mark.line + 1 if mark else 1, f"not YAML: {reason}") from None
    except RecursionError:
        raise UnreadableError(1, "not YAML: nested too deeply") from None
    finally:
        loader.dispose()


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())


_READERS: dict[str, Callable[[str], RowIterator]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".yaml": _read_yaml,
    ".yml": _read_yaml,
    ".json": _read_yaml,
}
