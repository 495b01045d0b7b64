"""TOML from anywhere: the standard reader, kept from what makes it use memory without bound."""

from __future__ import annotations

import tomllib
from typing import Any

LONGEST = 4 << 20  # characters; the largest shipped experiment has 8,000
DOTS = 1000  # in a line: the reader keeps every prefix of a dotted key, 10 GB for one of 50,000 parts


def read_toml(text: str) -> dict[str, Any]:
    """ValueError for what is no TOML, RecursionError for what is nested too deeply."""
    if len(text) > LONGEST:
        raise ValueError(f"longer than {LONGEST:,} characters")
    if text.count(".") > DOTS:
        for number, line in enumerate(text.splitlines(), 1):
            if line.count(".") > DOTS:
                raise ValueError(f"more than {DOTS:,} dots in line {number}")
    return tomllib.loads(text)
