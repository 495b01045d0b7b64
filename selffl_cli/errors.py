"""Errors a person sees: one line that says what is wrong, where, and what to do, safe for a terminal."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

LONGEST = 1000  # characters of a line; what is wrong stands at its beginning, what to do at its end


def printable(text: str, keep: str = "\n") -> str:
    """`text` with what moves a cursor, colours, hides or turns text as escapes (\\x1b); `keep` stays as it is."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escape(c) for c in text)


def _escape(character: str) -> str:
    if unicodedata.category(character) == "Zs":  # spaces of other widths
        return " "
    return character.encode("unicode_escape").decode()


def one_line(text: str, longest: int = LONGEST) -> str:
    """`text` without line breaks, printable, and clipped in its middle."""
    text = printable(" ".join(part.strip() for part in text.splitlines() if part.strip()), keep="")
    return text if len(text) <= longest else f"{text[: longest * 2 // 3]} … {text[-longest // 3 :]}"


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
