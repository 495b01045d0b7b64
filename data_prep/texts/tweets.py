"""Reading Sentiment140: from wherever it lies to rows that can be used, and a count of those that cannot."""

from __future__ import annotations

import csv
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from selffl_cli.errors import SelfflError

from ..reading.archive import ZIP, open_member
from ..reading.hub import load

URL = "https://cs.stanford.edu/people/alecmgo/trainingandtestdata.zip"
URL_SHA256 = "004a3772c8a7ff9bbfeb875880f47f0679d93fc63e5cf9cff72d54a8a6162e57"
HUB = "stanfordnlp/sentiment140"
MEMBER = "training.1600000.processed.noemoticon.csv"
SOURCE = f"the official zip or its CSV, an address of it, or hub ({HUB})"
MAX_LINE = 1 << 16  # bytes; a tweet of 140 characters never needs 2,000
SHOWN = 5  # lines named for each kind of trouble


@dataclass
class Tweets:
    """What was read, per tweet: label (0 or 1), index of its user, text; and what was left out."""

    label: np.ndarray
    user: np.ndarray
    texts: list[str]
    users: list[str]
    notes: dict[str, Any]


def from_hub(progress: Callable[[str], None]) -> Path:
    """The Hugging Face set as a CSV of the official layout in the download cache."""
    from ..reading.download import default_cache

    progress(f"fetching {HUB}")
    dataset = load(HUB, f"{URL} and give it by --source FILE", "train")
    path = default_cache() / "sentiment140-hub.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(dataset, path)
    return path


def write_csv(rows: Iterable[Any], path: Path) -> None:
    """Rows with `sentiment`, `date`, `query`, `user`, `text` as a CSV of the official layout, in UTF-8."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, quoting=csv.QUOTE_ALL, lineterminator="\n")
            for row in rows:
                values = [row["sentiment"], "", row["date"], row["query"], row["user"], row["text"]]
                writer.writerow([" ".join(str(value).splitlines()) for value in values])
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def open_csv(path: Path) -> Iterator[IO[bytes]]:
    """The training CSV's bytes, from a zip without unpacking it, or from the file itself."""
    try:
        file = path.open("rb")
    except OSError as error:
        raise SelfflError(f"{path}: cannot be read ({error.strerror}); give --source {SOURCE}") from None
    with file:
        if file.read(len(ZIP)) != ZIP:
            file.seek(0)
            yield file
            return

    def wanted(name: str) -> bool:
        base = name.rpartition("/")[2]
        return base == MEMBER or (base.startswith("training") and base.endswith(".csv") and "__MACOSX" not in name)

    with open_member(path, wanted, f"training CSV such as {MEMBER}") as stream:
        yield stream


class Trouble:
    """Counts rows by what is wrong with them, and remembers the first lines of each kind."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.lines: dict[str, list[int]] = {}

    def add(self, kind: str, line: int) -> None:
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if self.counts[kind] <= SHOWN:
            self.lines.setdefault(kind, []).append(line)

    def __str__(self) -> str:
        return "; ".join(f"{count:,} {kind} ({self._where(kind)})" for kind, count in self.counts.items())

    def _where(self, kind: str) -> str:
        more = ", …" if self.counts[kind] > SHOWN else ""
        return f"line{'s' * (self.counts[kind] > 1)} {', '.join(map(str, self.lines[kind]))}{more}"


def lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """(number from 1, bytes) of each line; of one beyond MAX_LINE only the beginning, to bound the memory."""
    number = 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        yield number, line
        while line and not line.endswith(b"\n"):
            line = stream.readline(MAX_LINE + 1)


def read(path: Path, encoding: str = "auto") -> Tweets:
    """Every usable row of the CSV, one a line, in the file's order; the others are counted and their lines
    named.

    Raises SelfflError where there is no usable row at all.
    """
    labels, owners = array("b"), array("i")
    texts: list[str] = []
    users: dict[str, int] = {}
    rows, left_out, odd = 0, Trouble(), Trouble()
    with open_csv(path) as stream:
        for number, line in lines(stream):
            if number == 1:
                if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                    raise SelfflError(f"{path}: is UTF-16; write it as latin-1 or UTF-8, as published")
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            rows += 1
            row = _row(line, encoding)
            if isinstance(row, str):
                left_out.add(row, number)
                continue
            labels.append(row[0])
            owners.append(users.setdefault(row[1], len(users)))
            texts.append(row[2])
            if row[3]:
                odd.add(row[3], number)
    if not texts:
        raise SelfflError(
            f"{path}: no row is in the official layout, polarity,id,date,query,user,text "
            f"({left_out if rows else 'it is empty'}); give --source {SOURCE}"
        )
    notes = {
        "rows": rows,
        "left_out": f"{rows - len(texts):,} rows" + (f": {left_out}" if left_out.counts else ""),
        "encoding": str(odd) or "plain",
        "left_out_rows": left_out.counts,
        "encoding_rows": odd.counts,
    }
    return Tweets(np.array(labels, np.int64), np.array(owners, np.int64), texts, list(users), notes)


def _row(line: bytes, encoding: str) -> tuple[int, str, str, str] | str:
    """(label, user, text, what is odd in its encoding) of a line, or why it cannot be used."""
    if len(line) > MAX_LINE:
        return f"longer than {MAX_LINE:,} bytes"
    if b"\0" in line:
        return "with NUL bytes"
    content, odd = line.decode("latin-1"), ""
    if not line.isascii():
        if any("\x80" <= c <= "\x9f" for c in content):
            odd = "in neither latin-1 nor UTF-8" if encoding == "auto" else "with control characters in latin-1"
        if encoding == "auto":
            with suppress(UnicodeDecodeError):
                content, odd = line.decode("utf-8"), "in UTF-8"
    try:
        values = next(csv.reader([content], strict=True), [])
    except csv.Error:
        return "with broken quotes"
    if len(values) != 6:
        return "with missing columns" if len(values) < 6 else "with too many columns"
    polarity, user = values[0].strip(), values[4].strip()
    if polarity == "2":
        return "neutral (polarity 2)"
    if polarity not in ("0", "4"):
        return "of a polarity other than 0, 2 and 4"
    if not user:
        return "without a user"
    return int(polarity == "4"), user, values[5], odd
