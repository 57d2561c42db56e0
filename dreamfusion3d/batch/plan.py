"""Plan of a batch: one item per asset, each with its own folder, and an estimate of the cost."""

from __future__ import annotations

import contextlib
import json
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dreamfusion3d.batch.manifest import MAX_SEED, ManifestError, ManifestRow
from dreamfusion3d.core import config as configs
from dreamfusion3d.core.config import Config, resolve_config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.slug import MAX_SLUG_LENGTH, append_hash, hash_text, slugify
from dreamfusion3d.pipelines.workspace import RunIdentity, Workspace, read_asset_record

# The embedded prior on two idle cores, from the medians in docs/benchmarks.md (draft: 11 s, 150 steps, of
# which half are taken; standard: 18 s, 300 steps): seconds per asset = STEP_SECONDS * steps + FIXED_SECONDS.
STEP_SECONDS, FIXED_SECONDS = 0.042, 5.0
MAX_SEEDS_PER_ROW = 64


@dataclass(frozen=True)
class Item:
    """One asset of the batch. Items of one ``row`` differ only in their seed."""

    name: str  # folder name
    prompt: str
    seed: int
    config: Config
    quality: str
    line: int
    row: int
    asset_name: str | None = None  # slug of the row's own name, used inside the files

    def identity(self, prior_sha256: str) -> RunIdentity:
        return RunIdentity(self.prompt, self.seed, self.config, prior_sha256)

    @property
    def digest(self) -> str:
        """Digest of everything except the prior's weights."""
        return self.identity("").digest


def expand_rows(path: Path, rows: Sequence[ManifestRow], num_seeds: int | None = None) -> list[Item]:
    """Expand rows into items: ``num_seeds`` consecutive seeds for each row that lists none.

    A folder is named after the row's name or prompt, followed by ``_s<seed>`` if the row has several seeds.
    If names derived from prompts collide, the later ones get a hash.

    Raises:
        ManifestError: chosen names collide, or a row repeats another.
    """
    problems: list[str] = []
    line_by_name: dict[str, int] = {}
    line_by_digest: dict[str, int] = {}
    folder_names: dict[tuple[int, int], str] = {}
    for has_name in (True, False):  # chosen names take precedence over prompts
        for index, row in enumerate(rows):
            if (row.name is not None) is not has_name:
                continue
            seeds = _row_seeds(row, num_seeds)
            for seed in seeds:
                key = Item("", row.prompt, seed, row.config, row.quality, row.line, index).digest
                name = folder_name(row.name or row.prompt, seed if len(seeds) > 1 else None)
                if name in line_by_name and not has_name:
                    name = append_hash(name, key)
                if not has_name and key in line_by_digest:
                    problems.append(f"{path}:{row.line}: the same asset as in line {line_by_digest[key]}; remove one")
                elif name in line_by_name:
                    clash = f"the folder {name!r} is that of line {line_by_name[name]}; change a name"
                    problems.append(f"{path}:{row.line}: {clash}")
                line_by_name.setdefault(name, row.line)
                line_by_digest.setdefault(key, row.line)
                folder_names[index, seed] = name
    if problems:
        raise ManifestError(sort_by_line(problems))
    return [
        Item(
            folder_names[i, seed],
            row.prompt,
            seed,
            row.config,
            row.quality,
            row.line,
            i,
            row.name and slugify(row.name),
        )
        for i, row in enumerate(rows)
        for seed in _row_seeds(row, num_seeds)
    ]


def sort_by_line(problems: Iterable[str]) -> list[str]:
    """Sort a manifest's problems by line; those without a line come first."""

    def line(problem: str) -> int:
        number = problem.split(": ", 1)[0].rpartition(":")[2]
        return int(number) if number.isdecimal() else 0

    return sorted(problems, key=line)


def _row_seeds(row: ManifestRow, num_seeds: int | None) -> tuple[int, ...]:
    first = row.seeds[0]
    if row.has_seed_list or num_seeds is None or first + num_seeds - 1 > MAX_SEED:
        return row.seeds
    return tuple(range(first, first + num_seeds))


def folder_name(text: str, seed: int | None = None) -> str:
    """Return the slug of ``text`` with the seed appended, at most MAX_SLUG_LENGTH characters."""
    name = slugify(text)
    if seed is None:
        return name
    tail = f"_s{seed}"
    if len(name) + len(tail) > MAX_SLUG_LENGTH:
        name = f"{name[: MAX_SLUG_LENGTH - len(tail) - 7].rstrip('_')}_{hash_text(text)}"
    return name + tail


def select_shard(items: Sequence[Item], shard: str) -> list[Item]:
    """Select every N-th row from the K-th, for "K/N"; the seeds of a row stay together."""
    number, count = parse_shard(shard)
    return [item for item in items if item.row % count == number - 1]


def parse_shard(shard: str) -> tuple[int, int]:
    """Parse "K/N". Raises InputError."""
    with contextlib.suppress(ValueError):
        number, count = (int(part) for part in shard.split("/"))
        if 1 <= number <= count:
            return number, count
    raise InputError(f"--shard {shard!r} is not K/N with 1 <= K <= N, e.g. 2/8")


def group_by_row(items: Iterable[Item]) -> dict[int, list[Item]]:
    """Group items by row."""
    rows = defaultdict[int, list[Item]](list)
    for item in items:
        rows[item.row].append(item)
    return rows


def changed_settings(item: Item) -> list[str]:
    """Return KEY=VALUE for every setting that differs from the item's quality; reproduces its config."""
    base, flat = _flatten_config(resolve_config(item.quality)), _flatten_config(item.config)
    return [f"{key}={_format_value(value)}" for key, value in flat.items() if value != base[key]]


def _flatten_config(config: Config) -> dict[str, Any]:
    return {f"{s}.{k}": v for s, part in configs.config_to_dict(config).items() for k, v in part.items()}


def _format_value(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


# --- cost ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CostEstimate:
    """Estimated cost of making items. ``seconds`` is None if nothing is known about the prior."""

    seconds: float | None  # total, before division among workers
    bytes: int
    source: str


def estimate_cost(items: Sequence[Item], out: Path) -> CostEstimate:
    """Estimate the cost from finished assets in the folder with the same settings, else from benchmarks.

    The benchmarks are those of the embedded prior on two idle cores.
    """
    cost_by_workload = _measure_costs(out)
    seconds, size, num_measured, num_unknown = 0.0, 0, 0, 0
    for item in items:
        if cost := cost_by_workload.get(_workload_key(configs.config_to_dict(item.config))):
            seconds, size, num_measured = seconds + cost[0], size + int(cost[1]), num_measured + 1
            continue
        size += _estimate_bytes(item.config)
        if item.config.prior.name == "embedded":
            seconds += STEP_SECONDS * item.config.optim.steps + FIXED_SECONDS
        else:
            num_unknown += 1
    if num_measured == len(items):
        source = "based on the assets in the folder"
    elif num_measured:
        source = "based partly on the assets in the folder, else on two idle cores"
    else:
        source = "based on two idle cores"
    if num_unknown:
        return CostEstimate(None, size, f"unknown for {num_unknown} with another prior until one of them is made")
    return CostEstimate(seconds, size, source)


def _measure_costs(out: Path) -> dict[str, tuple[float, ...]]:
    """Return median seconds and bytes of the finished assets in ``out``, by workload."""
    costs: dict[str, list[tuple[float, float]]] = {}
    for path in out.glob("*/asset.json"):
        with contextlib.suppress(OSError, KeyError, TypeError, AttributeError):
            record = read_asset_record(Workspace(path.parent)) or {}
            size = sum(p.stat().st_size for p in path.parent.rglob("*") if p.is_file())
            costs.setdefault(_workload_key(record["config"]), []).append((sum(record["seconds"].values()), size))
    columns = {work: zip(*all_, strict=True) for work, all_ in costs.items()}
    return {work: tuple(float(statistics.median(column)) for column in both) for work, both in columns.items()}


def _workload_key(config: dict[str, Any]) -> str:
    return json.dumps([config["prior"]["name"], config["optim"], config["render"], config["mesh"]])


def _estimate_bytes(config: Config) -> int:
    """Estimate the size of an asset with its work/ folder, fitted to runs with grids of 80 to 128 cells."""
    mesh, field = config.mesh, config.field
    cells = min(2**field.log2_table_size, field.max_resolution**3)  # of the finest level
    parameters = 4 * field.features_per_level * field.num_levels * cells // 2
    return 4 * parameters + 12 * mesh.texture_size**2 + 100 * mesh.max_faces * len(mesh.formats) + (2 << 20)
