"""TOML from anywhere: the standard reader, kept from what makes it use memory without bound."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

LONGEST = 4 << 20  # characters; the largest shipped experiment has 8,000
DOTS = 1000  # in a line: the reader keeps every prefix of a dotted key, 10 GB for one of 50,000 parts


def read_toml(text: str) -> dict[str, Any]:
    """ValueError for what is no TOML, RecursionError for what is nested too deeply. Passes over a byte order mark."""
    text = text.removeprefix("\ufeff")
    if len(text) > LONGEST:
        raise ValueError(f"longer than {LONGEST:,} characters")
    if text.count(".") > DOTS:
        for number, line in enumerate(text.split("\n"), 1):
            if line.count(".") > DOTS:
                raise ValueError(f"more than {DOTS:,} dots in line {number}")
    return tomllib.loads(text)


def read_toml_bytes(data: bytes) -> dict[str, Any]:
    """A file's bytes, as `read_toml`; ValueError names an encoding that is not UTF-8, which TOML must be."""
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError("is UTF-16; save it as UTF-8")
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ValueError(
            f"is no UTF-8 (byte 0x{data[error.start]:02x} in line {line}), but latin-1 or another code page; "
            "save it as UTF-8"
        ) from None
    return read_toml(text)


BARE = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(content: Mapping[str, Any]) -> str:
    """Tables of strings, numbers, truth values, lists and tables; TypeError for anything else (None included)."""
    return "\n".join(_table(content, ())).lstrip("\n") + "\n"


def _table(content: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    for key, value in content.items():
        if not isinstance(value, Mapping):
            yield f"{_key(key)} = {_value(value)}"
    for key, value in content.items():
        if isinstance(value, Mapping):
            yield f"\n[{'.'.join(map(_key, (*path, key)))}]"
            yield from _table(value, (*path, key))


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        # JSON's escapes are TOML's, but for one character
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_key(key)} = {_value(item)}' for key, item in value.items())}}}"
    raise TypeError(f"{type(value).__name__} has no place in TOML")


def _key(key: str) -> str:
    return key if BARE.fullmatch(key) else _value(key)
