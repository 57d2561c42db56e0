"""Every number of a run, in one frozen tree, and the ways to set one.

``resolve`` takes, in rising order: the quality, a YAML file, ``--set`` pairs, keyword
overrides. A setting exists once, as a dataclass field; its type and its range are read
from there, so that adding a field is all there is to adding a setting.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from dreamfusion3d.errors import InputError

QUALITIES = ("draft", "standard", "high")


def _number(default: Any, low: int | float, high: int | float) -> Any:
    """A field whose value (or each of whose values) lies in [low, high]."""
    return field(default=default, metadata={"low": low, "high": high})


@dataclass(frozen=True)
class PriorConfig:
    name: str = "embedded"  # "embedded", a folder, a hub id, or the name of an installed plug-in
    # what follows is for the priors of docs/priors.md; the embedded one only looks at dtype
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"  # half precision on a GPU
    variant: str | None = None  # of the weight files, as fp16; the plain files where there is none
    revision: str | None = None  # branch, tag or commit of a hub id
    device: str = "auto"  # the run's own, or another one for the prior alone, as cuda:1
    vae: str | None = None  # folder or hub id of a tiny autoencoder (TAESD) in place of the prior's own
    size: int = _number(0, 0, 4096)  # pixels along a side that the prior is shown; 0: its native size
    batch: int = _number(64, 1, 4096)  # pictures that pass the network at once; fewer need less memory
    background: Literal["random", "white", "grey", "black"] = "random"  # behind pictures without opacity
    distilled_scale: float = _number(3.5, 0.0, 100.0)  # told to networks with a guidance embedding (Flux)
    compile: bool = False  # the network, by torch.compile


@dataclass(frozen=True)
class PromptConfig:
    """What the prior is asked. A prior that is told the camera needs neither view words nor Perp-Neg."""

    negative: str | None = None  # what the object must not be; in place of the empty prompt
    views: bool = True  # the sentences below, by camera; false: the bare prompt from all sides
    front: str = "{prompt}, front view"
    side: str = "{prompt}, side view"
    back: str = "{prompt}, back view"
    overhead: str = "{prompt}, overhead view"
    perp_neg: float = _number(0.0, 0.0, 10.0)  # strength of Perp-Neg; 0 is off, 1 as published


@dataclass(frozen=True)
class GuidanceConfig:
    kind: Literal["sds"] = "sds"
    scale: float = _number(1.0, 0.0, 1000.0)  # uncond + scale (cond - uncond); 1 is plain conditional
    rescale: float = _number(0.8, 0.0, 1.0)  # towards the conditional's deviation (arXiv 2305.08891)
    joint_views: bool = True  # the views of a step are denoised together (a multi-view prior)
    weight: float = _number(20.0, 0.0, 1e6)  # of the guidance loss against the regularisers
    t_start: tuple[float, float] = _number((0.3, 0.98), 0.0, 1.0)  # window of times at the first step
    t_end: tuple[float, float] = _number((0.1, 0.38), 0.0, 1.0)  # and at the last


@dataclass(frozen=True)
class OptimConfig:
    steps: int = _number(300, 1, 1_000_000)
    views: int = _number(4, 1, 64)  # pictures a step
    table_rate: float = _number(0.02, 0.0, 10.0)  # Adam, hash table
    mlp_rate: float = _number(0.002, 0.0, 10.0)  # Adam, MLP
    final_rate: float = _number(0.2, 0.0, 1.0)  # share of both rates that is left at the end
    sharpness: float = _number(8.0, 1.0, 1000.0)  # density factor that the run ends with
    occupancy_every: int = _number(8, 1, 1000)  # steps between updates of the occupancy grid
    opacity_weight: float = _number(0.005, 0.0, 1e3)
    entropy_weight: float = _number(0.05, 0.0, 1e3)
    orientation_weight: float = _number(0.02, 0.0, 1e3)
    hollow_weight: float = _number(0.05, 0.0, 1e3)
    hollow_points: int = _number(2048, 1, 1_000_000)
    albedo_variation_weight: float = _number(1.0, 0.0, 1e3)
    normal_variation_weight: float = _number(0.02, 0.0, 1e3)


@dataclass(frozen=True)
class FieldConfig:
    """Size of a ``NerfField`` and the blob it starts from (lengths in scene units)."""

    levels: int = _number(6, 1, 32)
    features: int = _number(2, 1, 16)
    log2_table_size: int = _number(18, 4, 24)
    base_resolution: int = _number(8, 2, 1024)
    max_resolution: int = _number(60, 2, 8192)
    hidden: int = _number(32, 1, 1024)
    blob_density: float = _number(8.0, 0.0, 1000.0)  # DreamFusion, eq. 12: so that the object starts centred
    blob_radius: float = _number(0.55, 0.01, 2.0)
    density_scale: float = _number(6.0, 0.001, 1000.0)


@dataclass(frozen=True)
class RenderConfig:
    size: int = _number(64, 8, 2048)  # pixels, a square
    coarse_size: int = _number(32, 8, 2048)  # in the first part of the run, where shapes are vague
    coarse_share: float = _number(0.4, 0.0, 1.0)  # of the steps
    step_size: float = _number(0.02, 1e-4, 1.0)  # scene units between samples on a ray
    occupancy_resolution: int = _number(48, 8, 512)


@dataclass(frozen=True)
class MeshConfig:
    resolution: int = _number(128, 16, 1024)  # cells of the marching cubes along an edge of the scene
    faces: int = _number(20_000, 100, 10_000_000)
    texture_size: int = _number(1024, 16, 16384)
    height: float = _number(1.0, 1e-4, 1e5)  # metres
    formats: tuple[Literal["glb", "obj"], ...] = ("glb",)


@dataclass(frozen=True)
class Config:
    prior: PriorConfig = PriorConfig()
    prompts: PromptConfig = PromptConfig()
    guidance: GuidanceConfig = GuidanceConfig()
    optim: OptimConfig = OptimConfig()
    field: FieldConfig = FieldConfig()
    render: RenderConfig = RenderConfig()
    mesh: MeshConfig = MeshConfig()


# What each quality changes; the defaults above are `standard`.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "draft": {"optim.steps": 150, "mesh.resolution": 96, "mesh.texture_size": 512},
    "standard": {},
    "high": {"optim.steps": 1200, "mesh.resolution": 192, "mesh.texture_size": 2048},
}


def resolve(
    quality: str = "standard",
    file: Path | None = None,
    sets: typing.Sequence[str] = (),
    **overrides: Any,
) -> Config:
    """The configuration of a run.

    ``sets`` are ``key=value`` strings; ``overrides`` are dotted keys with ``__`` for the dot
    (``mesh__faces=5000``), ignored when None, so that absent command-line options pass through.
    """
    if quality not in PRESETS:
        raise InputError(f"quality {quality!r} is not one of {', '.join(QUALITIES)}")
    values: dict[str, Any] = dict(PRESETS[quality])
    if file is not None:
        values |= _read_yaml(file)
    for pair in sets:
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"--set {pair!r} is not KEY=VALUE, for example optim.steps=800")
        values[key.strip()] = value.strip()
    values |= {k.replace("__", "."): v for k, v in overrides.items() if v is not None}
    return with_values(Config(), values)


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """``config`` with the dotted keys of ``values`` replaced, each checked for type and range."""
    known = settings()
    tree: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        if key not in known:
            raise InputError(f"there is no setting {key!r}{_nearest(key, list(known))}")
        section, name = key.split(".")
        tree.setdefault(section, {})[name] = _typed(value, known[key], key)
    changed = {s: dataclasses.replace(getattr(config, s), **new) for s, new in tree.items()}
    result = dataclasses.replace(config, **changed)
    check(result)
    return result


def settings() -> dict[str, Any]:
    """Every dotted key and its type."""
    sections = typing.get_type_hints(Config)
    return {
        f"{section}.{name}": kind
        for section, cls in sections.items()
        for name, kind in typing.get_type_hints(cls).items()
    }


def check(config: Config) -> None:
    """Raises InputError for the first value out of its range; also for configs made by hand."""
    for section in dataclasses.fields(config):
        part = getattr(config, section.name)
        for item in dataclasses.fields(part):
            if "low" not in item.metadata:
                continue
            value, low, high = getattr(part, item.name), item.metadata["low"], item.metadata["high"]
            for number in value if isinstance(value, tuple) else (value,):
                _in_range(number, low, high, f"{section.name}.{item.name}")
    if not config.mesh.formats:
        raise InputError("mesh.formats is empty: name at least one of glb, obj")
    if config.field.max_resolution < config.field.base_resolution:
        raise InputError("field.max_resolution is below field.base_resolution; raise it")


def _in_range(value: int | float, low: int | float, high: int | float, key: str) -> None:
    if value < low:
        raise InputError(f"{key} = {value} is too small; the minimum is {low:,}")
    if value > high:
        raise InputError(f"{key} = {value} is too large; the maximum is {high:,}")


def as_dict(config: Config) -> dict[str, Any]:
    """Plain values for JSON and YAML (tuples become lists); ``--config`` reads it back."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def from_dict(tree: Mapping[str, Any]) -> Config:
    """The inverse of ``as_dict``; keys that are absent keep their defaults."""
    return with_values(Config(), _flatten(tree))


def digest(config: Config) -> str:
    """A hash of every value: equal digests are equal runs."""
    text = json.dumps(as_dict(config), sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the config file {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the config file {path} is not YAML: {reason}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise InputError(f"the config file {path} must hold sections such as 'optim: {{steps: 800}}'")
    return _flatten(tree)


def _flatten(tree: Mapping[Any, Any]) -> dict[str, Any]:
    """Dotted keys; accepts both ``optim: {steps: 1}`` and ``optim.steps: 1``."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": v for inner, v in value.items()}
        else:
            flat[str(key)] = value
    return flat


def _nearest(word: str, known: list[str]) -> str:
    """', did you mean X?' by the whole key, by its last part, or the whole list when nothing is near."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    if not near:
        tail = word.rpartition(".")[2]
        tails = {k.rpartition(".")[2]: k for k in known}
        near = [tails[t] for t in difflib.get_close_matches(tail, list(tails), n=1, cutoff=0.6)]
    return f"; did you mean {near[0]!r}?" if near else f"; there are: {', '.join(known)}"


def _typed(value: Any, kind: Any, key: str) -> Any:
    """``value`` as ``kind``: from a command line's string, or from YAML where the type must fit already."""
    origin = typing.get_origin(kind)
    if origin is Literal:
        return _choice(value, typing.get_args(kind), key)
    if origin in (typing.Union, types.UnionType):
        if value is None or str(value).lower() == "none":
            return None
        return _typed(value, next(k for k in typing.get_args(kind) if k is not type(None)), key)
    if origin is tuple:
        return _tuple(value, typing.get_args(kind), key)
    if kind is bool:
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if isinstance(value, bool):
            return value
        raise InputError(f"{key} = {value!r} is not true or false")
    if kind in (int, float):
        return _as_number(value, kind, key)
    if kind is str and isinstance(value, str) and value:
        return value
    raise InputError(f"{key} = {value!r} is not a text of at least one letter")


def _as_number(value: Any, kind: type, key: str) -> int | float:
    wanted = "a whole number" if kind is int else "a number"
    allowed = (str, int) if kind is int else (str, int, float)
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise InputError(f"{key} = {value!r} is not {wanted}")
    try:
        number = kind(value)
    except (ValueError, OverflowError):
        raise InputError(f"{key} = {value!r} is not {wanted}") from None
    if not math.isfinite(number):
        raise InputError(f"{key} = {value!r} is not a finite number")
    return number


def _choice(value: Any, choices: tuple[Any, ...], key: str) -> Any:
    if value in choices:
        return value
    raise InputError(f"{key} = {value!r} is not one of {', '.join(map(str, choices))}")


def _tuple(value: Any, kinds: tuple[Any, ...], key: str) -> tuple[Any, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, (list, tuple)):
        raise InputError(f"{key} = {value!r} is not a list; separate its values by commas")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        items = [_typed(v, kinds[0], key) for v in value]
        return tuple(dict.fromkeys(items))
    if len(value) != len(kinds):
        raise InputError(f"{key} needs {len(kinds)} values, not {len(value)}")
    return tuple(_typed(v, k, key) for v, k in zip(value, kinds, strict=True))
