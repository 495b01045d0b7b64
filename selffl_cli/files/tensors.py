"""Safetensors files, opened so that every way in which one cannot be read is an error in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from ..errors import SelfflError


@contextmanager
def open_tensors(path: Path, advice: str, framework: Literal["pt", "numpy"] = "pt") -> Iterator[Any]:
    """The opened file, memory-mapped. SelfflError, with `advice` at its end, where it or a tensor cannot be read.

    torch maps the file by itself and raises a RuntimeError where, say, no file handle is left.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework=framework) as file:
            yield file
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise SelfflError(f"{path}: cannot be read ({why}); {advice}") from None
