"""The one-line form of a named part with options, `name:key=value,…`, as typed on the command line or in a TOML."""

from __future__ import annotations

import tomllib
from typing import Any

from .errors import UsageError

Scalar = str | int | float | bool


def parse_value(text: str) -> Any:
    """A TOML value (`3`, `0.5`, `true`, `[1, 2]`, `"text"`); anything else is the string itself."""
    try:
        return tomllib.loads(f"v = {text}")["v"]
    except (ValueError, RecursionError):  # not TOML, or a number or a nesting too long to read
        return text.strip()


def parse_spec(text: str) -> tuple[str, dict[str, Any]]:
    """Split `"dirichlet:alpha=0.3,min=2"` into `("dirichlet", {"alpha": 0.3, "min": 2})`."""
    name, _, rest = text.strip().partition(":")
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
