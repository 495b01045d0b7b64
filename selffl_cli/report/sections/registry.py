"""The seam for tables that only some experiments have: a function here adds a section to their page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ..results import Results

# Takes the results and the folder it may write files to; returns Markdown, or "" when it has nothing to say.
Extra = Callable[[Results, Path], str]

EXTRAS: list[Extra] = []


def extra(function: Extra) -> Extra:
    """Decorator: call `function` for every report, after the tables."""
    EXTRAS.append(function)
    return function
