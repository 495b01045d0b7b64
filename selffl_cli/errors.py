"""Errors a person sees: one line that says what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

LONGEST = 1000  # characters of an error; what is wrong stands at its beginning, what to do at its end


class SelfflError(Exception):
    """The command failed (exit code 1). Whatever stands in the text, it is one line that a terminal can show."""

    exit_code = 1

    def __init__(self, text: str) -> None:
        super().__init__(one_line(text))


class UsageError(SelfflError):
    """The command was asked for something that cannot be (exit code 2): an unknown name, an impossible value."""

    exit_code = 2


def one_line(text: str) -> str:
    """`text` without line breaks; what cannot be printed (names and values come from anywhere) as escapes; clipped."""
    text = " ".join(part for part in text.splitlines() if part)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST * 2 // 3]} … {text[-LONGEST // 3 :]}"


def nearest(name: str, known: Iterable[str]) -> str:
    """What to append to "unknown NAME": the nearest known name, or the list of them when none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f" (did you mean '{close[0]}'?)"
    return f" (known: {', '.join(names)})" if names else ""
