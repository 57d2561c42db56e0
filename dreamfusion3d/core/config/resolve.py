"""Resolve a run's settings from presets, files and options.

`resolve_config` applies, from lowest to highest precedence: the quality, a preset, a YAML file, ``--set`` pairs,
keyword overrides. A setting is declared once, as a dataclass field of the schema, which holds its type and range: to
add a setting, add a field.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import reprlib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from dreamfusion3d.core import plugins
from dreamfusion3d.core.config import presets
from dreamfusion3d.core.config.schema import BUILTIN_GUIDANCES, GUIDANCE_GROUP, QUALITY_PRESETS, Config, FormatName
from dreamfusion3d.core.errors import InputError, SettingError

MAX_CONFIG_BYTES = 1 << 20


def resolve_config(
    quality: str = "standard",
    path: Path | None = None,
    sets: Sequence[str] = (),
    *,
    preset: str | None = None,
    quality_presets: Mapping[str, Mapping[str, Any]] = QUALITY_PRESETS,
    **overrides: Any,
) -> Config:
    """Resolve the configuration of a run.

    Args:
        quality: draft, standard or high.
        path: YAML file of settings.
        sets: ``section.key=value`` strings.
        preset: Name of a published method's settings, see `preset_names`.
        quality_presets: The settings that each quality changes.
        **overrides: Settings with ``__`` for the dot (``mesh__max_faces=5000``); None is ignored, so that absent
            command-line options pass through.

    Returns:
        The checked settings. Later sources win: quality, preset, file, sets, overrides.

    Raises:
        InputError: A name is unknown or a value is invalid.

    Example:
        >>> config = resolve_config("draft", sets=["optim.steps=50"], mesh__max_faces=5000)
        >>> config.optim.steps, config.mesh.max_faces
        (50, 5000)
    """
    if quality not in quality_presets:
        raise InputError(f"quality {quality!r} is not one of {', '.join(quality_presets)}")
    values: dict[str, Any] = dict(quality_presets[quality])
    if preset is not None:
        values |= _read_yaml(presets.preset_path(preset))
    if path is not None:
        values |= _read_yaml(path)
    for pair in sets:
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"--set {pair!r} is not KEY=VALUE, e.g. optim.steps=800")
        values[key.strip()] = value.strip()
    values |= {k.replace("__", "."): v for k, v in overrides.items() if v is not None}
    return override_config(Config(), values)


def override_config(config: Config, values: Mapping[str, Any]) -> Config:
    """Return ``config`` with the dotted keys of ``values`` replaced, each checked for type and range."""
    types_by_key = setting_types()
    by_section: dict[str, dict[str, Any]] = {}
    for key, value in values.items():
        if key not in types_by_key:
            raise InputError(f"unknown setting {key!r}{did_you_mean(key, list(types_by_key))}")
        section, name = key.split(".")
        by_section.setdefault(section, {})[name] = _parse_value(value, types_by_key[key], key)
    changed = {s: dataclasses.replace(getattr(config, s), **new) for s, new in by_section.items()}
    result = dataclasses.replace(config, **changed)
    check_config(result)
    return result


def setting_types() -> dict[str, Any]:
    """Return the type of every setting by its dotted key."""
    hints, sections = typing.get_type_hints, typing.get_type_hints(Config)
    return {
        f"{section}.{name}": annotation for section, cls in sections.items() for name, annotation in hints(cls).items()
    }


def check_config(config: Config) -> None:
    """Check all values, of configs made by hand too. Raises InputError for the first one out of range."""
    for section in dataclasses.fields(config):
        section_config = getattr(config, section.name)
        for field in dataclasses.fields(section_config):
            if "low" not in field.metadata:
                continue
            value, key = getattr(section_config, field.name), f"{section.name}.{field.name}"
            for number in value if isinstance(value, tuple) else () if value is None else (value,):
                if number < (low := field.metadata["low"]):
                    raise SettingError(key, f"is too small; the minimum is {low:,}", str(number))
                if number > (high := field.metadata["high"]):
                    raise SettingError(key, f"is too large; the maximum is {high:,}", str(number))
    if config.guidance.type not in (guidances := guidance_names(config.guidance.type)):
        raise SettingError("guidance.type", f"is not one of {', '.join(guidances)}", repr(config.guidance.type))
    if config.optim.antipodal and config.optim.num_views % 2:
        raise InputError(f"optim.antipodal needs an even optim.num_views, not {config.optim.num_views}")
    if not config.mesh.formats:
        names = ", ".join(typing.get_args(FormatName))
        raise SettingError("mesh.formats", f"is empty; give at least one of {names}")
    for name in ("field", "texture"):
        section_config = getattr(config, name)
        if section_config.max_resolution < section_config.base_resolution:
            raise InputError(f"{name}.max_resolution is below {name}.base_resolution. Raise it")


def guidance_names(name: str | None = None) -> tuple[str, ...]:
    """Return the values of ``guidance.type``; installed packages are not searched if ``name`` is built in."""
    installed = [] if name in BUILTIN_GUIDANCES else plugins.plugin_names(GUIDANCE_GROUP)
    return (*BUILTIN_GUIDANCES, *installed)


def config_to_dict(config: Config) -> dict[str, Any]:
    """Return plain values for JSON and YAML (tuples become lists); ``--config`` reads them back."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def config_from_dict(tree: Mapping[str, Any]) -> Config:
    """Invert `config_to_dict`; absent keys keep their defaults."""
    return override_config(Config(), _flatten(tree))


def _read_yaml(path: Path) -> dict[str, Any]:
    import yaml

    try:
        size = path.stat().st_size
        if size > MAX_CONFIG_BYTES:
            raise InputError(
                f"the config file {path} has {size >> 10:,} KB; the limit is {MAX_CONFIG_BYTES >> 10:,} KB"
            )
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the config file {path}: {error.strerror}") from None
    except RecursionError:
        raise InputError(f"the config file {path} is nested too deeply") from None
    # yaml does not catch the ValueErrors of invalid dates and numbers
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, TypeError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"the config file {path} is not valid YAML: {reason}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise InputError(f"the config file {path} must contain sections such as 'optim: {{steps: 800}}'")
    return _flatten(tree)


def _flatten(tree: Mapping[Any, Any]) -> dict[str, Any]:
    """Return dotted keys; accepts both ``optim: {steps: 1}`` and ``optim.steps: 1``."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": v for inner, v in value.items()}
        else:
            flat[str(key)] = value
    return flat


def did_you_mean(name: str, names: list[str]) -> str:
    """Return a hint with the closest name (whole key, else its last part), or with all names if none is close."""
    matches = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if not matches:
        tail = name.rpartition(".")[2]
        tails = {k.rpartition(".")[2]: k for k in names}
        matches = [tails[t] for t in difflib.get_close_matches(tail, list(tails), n=1, cutoff=0.6)]
    return f"; did you mean {matches[0]!r}?" if matches else f". Use one of: {', '.join(names)}"


def _parse_value(value: Any, annotation: Any, key: str) -> Any:
    """Convert a command line's string, or check a YAML value's type. Raises SettingError."""
    origin = typing.get_origin(annotation)
    if origin is Literal:
        return check_choice(value, typing.get_args(annotation), key)
    if origin in (typing.Union, types.UnionType):
        if value is None or str(value).lower() == "none":
            return None
        return _parse_value(value, next(k for k in typing.get_args(annotation) if k is not type(None)), key)
    if origin is tuple:
        return _parse_tuple(value, typing.get_args(annotation), key)
    if annotation is bool:
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if isinstance(value, bool):
            return value
        raise SettingError(key, "is not true or false", reprlib.repr(value))
    if annotation in (int, float):
        return _parse_number(value, annotation, key)
    if annotation is str and isinstance(value, str) and value:
        return value
    raise SettingError(key, "is not a non-empty string", reprlib.repr(value))


def _parse_number(value: Any, number_type: type, key: str) -> int | float:
    expected = "a whole number" if number_type is int else "a number"
    allowed = (str, int) if number_type is int else (str, int, float)
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise SettingError(key, f"is not {expected}", reprlib.repr(value))
    try:
        number = number_type(value)
    except (ValueError, OverflowError):
        raise SettingError(key, f"is not {expected}", reprlib.repr(value)) from None
    if not math.isfinite(number):
        raise SettingError(key, "is not a finite number", reprlib.repr(value))
    return number


def check_choice(value: Any, choices: tuple[Any, ...], key: str) -> Any:
    """Return ``value`` if it is one of ``choices``. Raises SettingError with the choices and the closest one."""
    if value in choices:
        return value
    matches = difflib.get_close_matches(str(value).lower(), list(map(str, choices)), n=1, cutoff=0.5)
    hint = f"; did you mean {matches[0]!r}?" if matches else ""
    raise SettingError(key, f"is not one of {', '.join(map(str, choices))}{hint}", reprlib.repr(value))


def _parse_tuple(value: Any, item_types: tuple[Any, ...], key: str) -> tuple[Any, ...]:
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if not isinstance(value, (list, tuple)):
        raise SettingError(key, "is not a list; separate its values with commas", reprlib.repr(value))
    if len(item_types) == 2 and item_types[1] is Ellipsis:
        return tuple(dict.fromkeys(_parse_value(v, item_types[0], key) for v in value))
    if len(value) != len(item_types):
        raise SettingError(key, f"needs {len(item_types)} values, not {len(value)}")
    return tuple(_parse_value(v, k, key) for v, k in zip(value, item_types, strict=True))
