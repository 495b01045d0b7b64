"""What commands print with --json."""

from __future__ import annotations

import json
import math
from typing import Any

import typer


def print_json(content: Any) -> None:
    """One JSON value; a number that is not finite, which JSON does not have, becomes null."""
    typer.echo(json.dumps(_finite(content), indent=1, allow_nan=False))


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, str | int) or content is None:
        return content
    return _finite(content.item()) if hasattr(content, "item") else str(content)
