"""The words that an option of a method or a key of [train] may be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo


def choices(field: FieldInfo) -> list[str]:
    """The words that an option may be, and "a number" where it may be one beside them; [] for numbers alone."""
    found = list(_choices(field.annotation))
    return found if any(word != "a number" for word in found) else []


def _choices(kind: Any) -> Iterator[str]:
    if get_origin(kind) is Literal:
        yield from map(str, get_args(kind))
    elif kind is bool:
        yield from ("true", "false")
    elif get_args(kind):  # a union, or a type with its limits
        for part in get_args(kind):
            yield from _choices(part)
    elif kind in (int, float):
        yield "a number"
