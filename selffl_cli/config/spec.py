"""The one-line form of a named part with options, `name:key=value,…`, as typed on the command line or in a TOML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.fields import FieldInfo

from ..errors import UsageError, nearest
from ..files.toml import read_toml
from ..registry import reference
from .validation import Config, Strict, validate


def parse_value(text: str) -> Any:
    """A TOML value (`3`, `0.5`, `true`, `[1, 2]`, `"text"`); anything else is the string itself."""
    try:
        return read_toml(f"v = {text}")["v"]
    except (ValueError, RecursionError):  # not TOML, or a number or a nesting too long to read
        return text.strip()


def parse_spec(text: str) -> tuple[str, dict[str, Any]]:
    """Split `"dirichlet:alpha=0.3,min=2"` into `("dirichlet", {"alpha": 0.3, "min": 2})`.

    A name may be a reference to a class outside the package, as in `path/my_method.py:MyMethod:rate=0.1`.
    """
    text = text.strip()
    outside = reference(text)
    if outside:
        name, rest = outside.group(), text[outside.end() + 1 :]
    else:
        name, _, rest = text.partition(":")
    options: dict[str, Any] = {}
    for item in filter(None, (part.strip() for part in rest.split(","))):
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise UsageError(f"'{text}': '{item}' is not key=value; write {name}:key=value,key=value")
        options[key.strip()] = parse_value(value)
    if not name:
        raise UsageError(f"'{text}' has no name; write name:key=value,…")
    return name, options


def format_spec(name: str, options: dict[str, Any]) -> str:
    """The inverse of `parse_spec`, with the options in alphabetical order."""
    if not options:
        return name
    values = ((k, str(v).lower() if isinstance(v, bool) else v) for k, v in sorted(options.items()))
    return name + ":" + ",".join(f"{k}={v}" for k, v in values)


def read_spec(text: str, kinds: Mapping[str, type[Config]], what: str) -> tuple[str, Config]:
    """A part with options as typed: its registered name and its options, validated.

    `what` is the word for such parts ("sampler"). A UsageError names an unknown name, option or value, or an option
    that is missing.
    """
    name, options = parse_spec(text)
    if name not in kinds:
        raise UsageError(f"unknown {what} '{name}'{nearest(name, kinds)}")
    known = {info.alias or key: info for key, info in kinds[name].model_fields.items()}
    for key, info in known.items():
        if info.is_required() and key not in options:
            raise UsageError(f"{what} '{text}': {key} is missing; write {name}:{key}=…")
    return name, validate(kinds[name], options, f"{what} '{text}'")


def spec_help(kinds: Mapping[str, type[Config]]) -> str:
    """What `read_spec` takes, with spaces where a narrow terminal may break the line: each name, and its options with
    their defaults, `…` where there is none: "uniform, poisson (q=…), activity (gamma=1, mix=0)"."""
    return ", ".join(
        name + (f" ({', '.join(map(_option, kind.model_fields.items()))})" if kind.model_fields else "")
        for name, kind in kinds.items()
    )


def _option(field: tuple[str, FieldInfo]) -> str:
    key, info = field
    default = "…" if info.is_required() or info.default is None else info.default
    default = str(default).lower() if isinstance(default, bool) else default
    return f"{info.alias or key}={default:g}" if isinstance(default, float) else f"{info.alias or key}={default}"


def full_spec(name: str, options: Strict) -> str:
    """The spec with every option that is set written out, defaults too: what a run's record keeps."""
    return format_spec(name, options.model_dump(mode="json", by_alias=True, exclude_none=True))
