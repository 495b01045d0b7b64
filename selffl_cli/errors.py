"""Errors a person sees: one line that says what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from .safe_text import one_line


class SelfflError(Exception):
    """The command failed (exit code 1). Whatever stands in the text, it is one line that a terminal can show."""

    exit_code = 1

    def __init__(self, text: str) -> None:
        super().__init__(one_line(text))


class UsageError(SelfflError):
    """The command was asked for something that cannot be (exit code 2): an unknown name, an impossible value."""

    exit_code = 2


def nearest(name: str, known: Iterable[str]) -> str:
    """What to append to "unknown NAME": the nearest known name, or the list of them when none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f" (did you mean '{close[0]}'?)"
    return f" (known: {', '.join(names)})" if names else ""
