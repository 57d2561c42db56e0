"""What a manifest comes to: an item an asset, each with a folder of its own, and what it will cost."""

from __future__ import annotations

import contextlib
import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamfusion3d.batch.manifest import LAST_SEED, ManifestError, Row
from dreamfusion3d.core import config as configs
from dreamfusion3d.core.config import Config, resolve
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.slug import LONGEST_SLUG, hashed, slug, with_hash
from dreamfusion3d.pipelines.workspace import Identity

# The embedded prior on two idle cores, from the medians of docs/benchmarks.md (draft: 11 s, 150 steps, of
# which half are taken; standard: 18 s, 300 steps): seconds an asset = these times its steps, and the rest.
STEP_SECONDS, OTHER_SECONDS = 0.042, 5.0
MOST_SEEDS = 64


@dataclass(frozen=True)
class Item:
    """One asset of the batch. Items of one ``row`` differ in their seed alone."""

    name: str  # of its folder
    prompt: str
    seed: int
    config: Config
    quality: str
    line: int
    row: int
    called: str | None = None  # the slug of the row's own name, which what is inside the files has

    def identity(self, prior_sha256: str) -> Identity:
        return Identity(self.prompt, self.seed, self.config, prior_sha256)

    @property
    def digest(self) -> str:
        """Of all but the prior's weights."""
        return self.identity("").digest


def items_of(path: Path, rows: Sequence[Row], count: int | None = None) -> list[Item]:
    """The items of all rows; ``count`` seeds for each row that lists none, from its own on.

    A folder is called by the row's name, or by its prompt; with several seeds ``_s<seed>`` follows.
    Where names that nobody chose meet, the later get a hash. Raises ManifestError where chosen names
    meet, or where a row repeats another.
    """
    problems: list[str] = []
    taken: dict[str, int] = {}
    seen: dict[str, int] = {}
    named: dict[tuple[int, int], str] = {}
    for chosen in (True, False):  # chosen names first: no row may lose its name to another's prompt
        for index, row in enumerate(rows):
            if (row.name is not None) is not chosen:
                continue
            for seed in _seeds(row, count):
                key = Item("", row.prompt, seed, row.config, row.quality, row.line, index).digest
                name = folder_name(row.name or row.prompt, seed if len(_seeds(row, count)) > 1 else None)
                if name in taken and not chosen:
                    name = with_hash(name, key)
                if not chosen and key in seen:
                    problems.append(f"{path}:{row.line}: the same asset as line {seen[key]}")
                elif name in taken:
                    problems.append(
                        f"{path}:{row.line}: its folder {name!r} is that of line {taken[name]}; change a name"
                    )
                taken.setdefault(name, row.line)
                seen.setdefault(key, row.line)
                named[index, seed] = name
    if problems:
        raise ManifestError(by_line(problems))
    return [
        Item(
            named[i, seed], row.prompt, seed, row.config, row.quality, row.line, i,
            None if row.name is None else slug(row.name),
        )
        for i, row in enumerate(rows) for seed in _seeds(row, count)
    ]


def by_line(problems: Iterable[str]) -> list[str]:
    """Those of a manifest, as they stand in it; what has no line of its own comes first."""
    def line(problem: str) -> int:
        number = problem.split(": ", 1)[0].rpartition(":")[2]
        return int(number) if number.isdecimal() else 0

    return sorted(problems, key=line)


def _seeds(row: Row, count: int | None) -> tuple[int, ...]:
    if row.listed or count is None:
        return row.seeds
    if row.seeds[0] + count - 1 > LAST_SEED:
        return row.seeds
    return tuple(range(row.seeds[0], row.seeds[0] + count))


def folder_name(text: str, seed: int | None = None) -> str:
    """The slug of ``text``, with the seed behind it; at most LONGEST_SLUG characters."""
    name = slug(text)
    if seed is None:
        return name
    tail = f"_s{seed}"
    if len(name) + len(tail) > LONGEST_SLUG:
        name = f"{name[: LONGEST_SLUG - len(tail) - 7].rstrip('_')}_{hashed(text)}"
    return name + tail


def shard_of(items: Sequence[Item], shard: str) -> list[Item]:
    """Every N-th row from the K-th on, for "K/N"; the seeds of a row stay together."""
    number, count = parse_shard(shard)
    return [item for item in items if item.row % count == number - 1]


def parse_shard(shard: str) -> tuple[int, int]:
    with contextlib.suppress(ValueError):
        number, count = (int(part) for part in shard.split("/"))
        if 1 <= number <= count:
            return number, count
    raise InputError(f"--shard {shard!r} is not K/N with K from 1 to N, for example 2/8")


def groups(items: Iterable[Item]) -> dict[int, list[Item]]:
    """The items of each row."""
    found: dict[int, list[Item]] = {}
    for item in items:
        found.setdefault(item.row, []).append(item)
    return found


def settings_given(item: Item) -> list[str]:
    """KEY=VALUE for all that differs from the item's quality: `resolve` makes the same config of it."""
    base, flat = _dotted(resolve(item.quality)), _dotted(item.config)
    return [f"{key}={_shown(value)}" for key, value in flat.items() if value != base[key]]


def _dotted(config: Config) -> dict[str, Any]:
    return {f"{s}.{k}": v for s, part in configs.as_dict(config).items() for k, v in part.items()}


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


# --- what it will cost ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Estimate:
    """For all items that are still to be made. ``seconds``: None where nothing is known of the prior."""

    seconds: float | None  # of work, before it is shared among workers
    bytes: int
    source: str


def estimate(items: Sequence[Item], out: Path) -> Estimate:
    """From what finished assets of the folder with the same work took, else from the embedded prior's
    figures on two idle cores."""
    known = _measured(out)
    seconds, size, measured, unknown = 0.0, 0, 0, 0
    for item in items:
        found = known.get(_work(configs.as_dict(item.config)))
        if found:
            seconds, size, measured = seconds + found[0], size + int(found[1]), measured + 1
            continue
        size += _bytes(item.config)
        if item.config.prior.name == "embedded":
            seconds += STEP_SECONDS * item.config.optim.steps + OTHER_SECONDS
        else:
            unknown += 1
    if measured == len(items):
        source = "from the assets that are in the folder"
    elif measured:
        source = "partly from the assets that are in the folder, else as on two idle cores"
    else:
        source = "as on two idle cores"
    if unknown:
        return Estimate(None, size, f"unknown for {unknown} with another prior, until one of them is made")
    return Estimate(seconds, size, source)


def _measured(out: Path) -> dict[str, tuple[float, float]]:
    """By kind of work: median seconds and bytes of the finished assets in ``out``."""
    found: dict[str, list[tuple[float, float]]] = {}
    for report in out.glob("*/asset.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            record = json.loads(report.read_text(encoding="utf-8"))
            size = sum(p.stat().st_size for p in report.parent.rglob("*") if p.is_file())
            found.setdefault(_work(record["config"]), []).append((sum(record["seconds"].values()), size))
    return {
        work: (float(statistics.median(s for s, _ in all_)), float(statistics.median(b for _, b in all_)))
        for work, all_ in found.items()
    }


def _work(config: dict[str, Any]) -> str:
    return json.dumps([config["prior"]["name"], config["optim"], config["render"], config["mesh"]])


def _bytes(config: Config) -> int:
    """Of an asset with its work/: what runs of 80 to 128 cells came to, rounded up."""
    mesh, field = config.mesh, config.field
    cells = min(2**field.log2_table_size, field.max_resolution**3)  # of the finest level
    parameters = 4 * field.features * field.levels * cells // 2
    return 4 * parameters + 12 * mesh.texture_size**2 + 100 * mesh.faces * len(mesh.formats) + (2 << 20)
