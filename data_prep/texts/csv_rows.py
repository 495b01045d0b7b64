"""Rows of a CSV from a stream of bytes, in bounded memory: line ends of three kinds, line breaks within quotes."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from typing import IO

MAX_LINE = 1 << 16  # bytes of a row; a tweet of 140 characters never needs 2,000
READ_BYTES = 1 << 16
SHOWN = 5  # lines named for each kind of trouble
QUOTED_START = re.compile(rb'"[^"\r\n]{0,20}","')  # how a row with quotes begins
PLAIN_START = re.compile(rb"-?[\d.]{1,4},\d")
SEPARATORS = {b";": ";", b"\t": r"\t", b"|": "|"}


class Trouble:
    """Counts rows by what is wrong with them, and remembers the first lines of each kind."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.lines: dict[str, list[int]] = {}

    def add(self, kind: str, line: int) -> None:
        self.merge(kind, 1, [line])

    def merge(self, kind: str, count: int, lines: list[int]) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + count
        self.lines[kind] = sorted(self.lines.get(kind, []) + lines)[:SHOWN]

    def __str__(self) -> str:
        return "; ".join(f"{count:,} {kind} ({self._where(kind)})" for kind, count in self._in_order())

    def _in_order(self) -> list[tuple[str, int]]:
        return sorted(self.counts.items(), key=lambda kind: self.lines[kind[0]])

    def _where(self, kind: str) -> str:
        more = ", …" if self.counts[kind] > SHOWN else ""
        return f"line{'s' * (self.counts[kind] > 1)} {', '.join(map(str, self.lines[kind]))}{more}"


def lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """(number from 1, bytes) of each line; of one beyond MAX_LINE only the beginning, to bound the memory.

    \\n ends a line; in a file whose beginning has none, \\r does.
    """
    buffer = stream.read(READ_BYTES)
    end = b"\r" if b"\r" in buffer and b"\n" not in buffer else b"\n"
    number, skipping = 1, False
    while buffer:
        *whole, rest = buffer.split(end)
        for line in whole:
            if not skipping:
                yield number, line[: MAX_LINE + 1] + end
            number, skipping = number + 1, False
        if len(rest) > MAX_LINE:
            if not skipping:
                yield number, rest[: MAX_LINE + 1]
            rest, skipping = b"", True
        if not (more := stream.read(READ_BYTES)):
            if rest and not skipping:
                yield number, rest
            return
        buffer = rest + more


def records(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """(number of its first line, bytes) of each row; a line break within quotes is part of the row.

    A quote that is never closed takes no more than its own line: a line that begins as rows do begins one.
    """
    held, first = b"", 0
    for number, line in lines(stream):
        start = QUOTED_START if held.startswith(b'"') else PLAIN_START
        if held and (start.match(line) or len(held) > MAX_LINE):
            yield first, held
            held = b""
        first = first if held else number
        held += line
        if held.count(b'"') % 2 == 0:
            yield first, held
            held = b""
    if held:
        yield first, held


def fields(content: str, separator: str) -> list[str] | None:
    """The fields of a row, None where its quotes are broken; quotes within quotes are doubled or follow a backslash."""
    try:
        return next(csv.reader([content], strict=True, delimiter=separator), [])
    except csv.Error:
        pass
    try:
        read = csv.reader([content], strict=True, delimiter=separator, doublequote=False, escapechar="\\")
        return next(read, []) if '\\"' in content else None
    except csv.Error:
        return None


def separator_of(row: bytes) -> str | None:
    """What seems to separate the columns of a row where that is no comma, as one types it."""
    best = max(SEPARATORS, key=row.count)
    return SEPARATORS[best] if row.count(best) >= 2 and row.count(best) > row.count(b",") else None
