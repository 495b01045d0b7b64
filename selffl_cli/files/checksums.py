"""JSON that carries its own checksum, so that a flipped byte is found before a number of it is used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

SEAL = "sha256"


def digest(content: Mapping[str, Any]) -> str:
    """sha256 of the values: spaces and the order of keys do not count."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def seal(content: Mapping[str, Any]) -> dict[str, Any]:
    """`content` with its checksum; only what JSON gives back as it was (string keys, no tuples)."""
    return {**content, SEAL: digest(content)}


def unseal(content: Mapping[str, Any], required: bool = False) -> dict[str, Any]:
    """What was sealed; ValueError where it is something else now. Without a seal it passes, unless `required`."""
    if not isinstance(content, Mapping):
        raise ValueError("it is no JSON object")
    rest = {key: value for key, value in content.items() if key != SEAL}
    if (required or SEAL in content) and content.get(SEAL) != digest(rest):
        raise ValueError("its checksum does not agree with the rest of it")
    return rest
