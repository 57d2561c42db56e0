"""Every number of a run, in one frozen tree, and the ways to set one.

``resolve`` takes, in rising order: the quality, a preset, a YAML file, ``--set`` pairs, keyword
overrides. A setting exists once, as a dataclass field; its type and its range are read
from there, so that adding a field is all there is to adding a setting.
"""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
import math
import reprlib
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from dreamfusion3d.core import plugins
from dreamfusion3d.core.config import presets
from dreamfusion3d.core.config.schema import (
    GUIDANCE_GROUP,
    GUIDANCES,
    PRESETS,
    QUALITIES,
    Config,
    FormatName,
)
from dreamfusion3d.core.errors import InputError, SettingError

LARGEST_FILE = 1 << 20  # bytes of a config file


def resolve(
    quality: str = "standard",
    file: Path | None = None,
    sets: typing.Sequence[str] = (),
    *,
    preset: str | None = None,
    qualities: Mapping[str, Mapping[str, Any]] = PRESETS,
    **overrides: Any,
) -> Config:
    """The configuration of a run.

    ``preset`` is one of ``presets.names()``, ``qualities`` what each quality changes. ``sets`` are
    ``key=value`` strings; ``overrides`` are dotted keys with ``__`` for the dot (``mesh__faces=5000``),
    ignored when None, so that absent command-line options pass through.
    """
    if quality not in PRESETS:
        raise InputError(f"quality {quality!r} is not one of {', '.join(QUALITIES)}")
    values: dict[str, Any] = dict(qualities[quality])
    if preset is not None:
        values |= _read_yaml(presets.path(preset))
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
            raise InputError(f"there is no setting {key!r}{nearest(key, list(known))}")
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
    if config.guidance.kind not in (known := guidance_names(config.guidance.kind)):
        raise SettingError("guidance.kind", f"is not one of {', '.join(known)}", repr(config.guidance.kind))
    if config.optim.antipodal and config.optim.views % 2:
        raise InputError(f"optim.antipodal needs an even number as optim.views, not {config.optim.views}")
    if not config.mesh.formats:
        names = ", ".join(typing.get_args(FormatName))
        raise SettingError("mesh.formats", f"is empty: name at least one of {names}")
    for name in ("field", "paint"):
        part = getattr(config, name)
        if part.max_resolution < part.base_resolution:
            raise InputError(f"{name}.max_resolution is below {name}.base_resolution; raise it")


def guidance_names(wanted: str | None = None) -> tuple[str, ...]:
    """What ``guidance.kind`` may be; installed packages are not asked where ``wanted`` is ours."""
    return GUIDANCES if wanted in GUIDANCES else (*GUIDANCES, *plugins.names(GUIDANCE_GROUP))


def _in_range(value: int | float, low: int | float, high: int | float, key: str) -> None:
    if value < low:
        raise SettingError(key, f"is too small; the minimum is {low:,}", str(value))
    if value > high:
        raise SettingError(key, f"is too large; the maximum is {high:,}", str(value))


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
        size = path.stat().st_size
        if size > LARGEST_FILE:
            most = f"at most {LARGEST_FILE >> 10:,} are read"
            raise InputError(f"the config file {path} has {size >> 10:,} KB; {most}")
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the config file {path}: {error.strerror}") from None
    except RecursionError:
        raise InputError(f"the config file {path} is nested too deeply") from None
    # yaml lets through the ValueErrors of dates and numbers that are none
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError, KeyError) as error:
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


def nearest(word: str, known: list[str]) -> str:
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
        return choice(value, typing.get_args(kind), key)
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
        raise SettingError(key, "is not true or false", reprlib.repr(value))
    if kind in (int, float):
        return _as_number(value, kind, key)
    if kind is str and isinstance(value, str) and value:
        return value
    raise SettingError(key, "is not a text of at least one letter", reprlib.repr(value))


def _as_number(value: Any, kind: type, key: str) -> int | float:
    wanted = "a whole number" if kind is int else "a number"
    allowed = (str, int) if kind is int else (str, int, float)
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise SettingError(key, f"is not {wanted}", reprlib.repr(value))
    try:
        number = kind(value)
    except (ValueError, OverflowError):
        raise SettingError(key, f"is not {wanted}", reprlib.repr(value)) from None
    if not math.isfinite(number):
        raise SettingError(key, "is not a finite number", reprlib.repr(value))
    return number


def choice(value: Any, choices: tuple[Any, ...], key: str) -> Any:
    """``value`` when it is one of ``choices``; else an InputError that names them and the nearest."""
    if value in choices:
        return value
    near = difflib.get_close_matches(str(value).lower(), list(map(str, choices)), n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise SettingError(key, f"is not one of {', '.join(map(str, choices))}{hint}", reprlib.repr(value))


def _tuple(value: Any, kinds: tuple[Any, ...], key: str) -> tuple[Any, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, (list, tuple)):
        raise SettingError(key, "is not a list; separate its values by commas", reprlib.repr(value))
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        items = [_typed(v, kinds[0], key) for v in value]
        return tuple(dict.fromkeys(items))
    if len(value) != len(kinds):
        raise SettingError(key, f"needs {len(kinds)} values, not {len(value)}")
    return tuple(_typed(v, k, key) for v, k in zip(value, kinds, strict=True))
