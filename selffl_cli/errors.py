"""Errors a person sees: one line that says what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SelfflError(Exception):
    """The command failed (exit code 1)."""

    exit_code = 1


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
