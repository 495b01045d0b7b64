"""Reading Sentiment140: from wherever it lies to rows that can be used, and a count of those that cannot."""

from __future__ import annotations

import csv
import os
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import numpy as np

from selffl_cli.errors import SelfflError

from ..reading.archive import ZIP, open_member
from ..reading.hub import load
from .csv_rows import MAX_LINE, Trouble, fields, records, separator_of

URL = "https://cs.stanford.edu/people/alecmgo/trainingandtestdata.zip"
URL_SHA256 = "004a3772c8a7ff9bbfeb875880f47f0679d93fc63e5cf9cff72d54a8a6162e57"
HUB = "stanfordnlp/sentiment140"
MEMBER = "training.1600000.processed.noemoticon.csv"
SOURCE = f"the official zip or its CSV, an address of it, or hub ({HUB})"
OFFICIAL = "polarity,id,date,query,user,text"
NAMES = {
    "polarity": ("polarity", "target", "label", "sentiment"),
    "user": ("user", "username", "user_name", "author"),
    "text": ("text", "tweet", "content"),
}
SCHEMES = (
    {"0": 0, "4": 1}, {"0": 0, "1": 1}, {"-1": 0, "1": 1}, {"negative": 0, "positive": 1}, {"neg": 0, "pos": 1},
)  # fmt: skip
MOST_POLARITIES = 100  # different ones; a file with more has another column there
MAX_BAD = 0.05  # of the rows


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


@dataclass(frozen=True)
class Layout:
    """Which columns of how many hold what, counted from 0."""

    polarity: int
    user: int
    text: int
    width: int


def layout(columns: str) -> Layout:
    """Of `polarity,id,date,query,user,text` or another order; ValueError where one that is needed is missing."""
    names = [name.strip().strip('"').lower() for name in columns.split(",")]
    found = [next((names.index(name) for name in NAMES[key] if name in names), None) for key in NAMES]
    polarity, user, text = found
    if polarity is None or user is None or text is None:
        raise ValueError(f"name the columns in their order, among them polarity, user and text, such as {OFFICIAL}")
    return Layout(polarity, user, text, len(names))


@dataclass
class Rows:
    """Rows as they come: the number of their polarity among `polarities`, of their user, and their text."""

    polarity: array[int] = field(default_factory=lambda: array("i"))
    user: array[int] = field(default_factory=lambda: array("i"))
    texts: list[str] = field(default_factory=list)
    users: dict[str, int] = field(default_factory=dict)
    polarities: dict[str, int] = field(default_factory=dict)
    where: Trouble = field(default_factory=Trouble)  # of each polarity
    left_out: Trouble = field(default_factory=Trouble)
    odd: Trouble = field(default_factory=Trouble)
    rows: int = 0
    spaced: int = 0  # users with a space in their name, which no user has
    spaced_name: str = ""

    def add(self, number: int, row: tuple[str, str, str, str]) -> None:
        polarity, user, text, odd = row
        if polarity not in self.polarities and len(self.polarities) >= MOST_POLARITIES:
            polarity = "others"
        self.polarity.append(self.polarities.setdefault(polarity, len(self.polarities)))
        self.where.add(polarity, number)
        self.user.append(self.users.setdefault(user, len(self.users)))
        self.texts.append(text)
        if odd:
            self.odd.add(odd, number)
        if " " in user:
            self.spaced, self.spaced_name = self.spaced + 1, self.spaced_name or user


def read(
    path: Path, encoding: str = "auto", max_bad: float = MAX_BAD, separator: str = ",", columns: str = OFFICIAL
) -> Tweets:
    """Every usable row of the CSV, in the file's order; the others are counted and their lines named.

    A first row that names the columns says their order. Raises SelfflError where there is no usable row at all, where
    more than `max_bad` of the rows are left out, and where all tweets would be of one class.
    """
    found, order = Rows(), layout(columns)
    separator = "\t" if separator == r"\t" else separator
    first = b""
    with open_csv(path) as stream:
        for number, line in records(stream):
            if number == 1:
                if line.startswith((b"\xff\xfe", b"\xfe\xff")):
                    raise SelfflError(f"{path}: is UTF-16; write it as latin-1 or UTF-8, as published")
                line = line.removeprefix(b"\xef\xbb\xbf")
            if not line.strip():
                continue
            if not first:
                first = line
                if (named := _header(line, separator)) is not None:
                    order = named
                    continue
            found.rows += 1
            row = _row(line, encoding, separator, order)
            if isinstance(row, str):
                found.left_out.add(row, number)
            else:
                found.add(number, row)
    if not found.texts:
        raise SelfflError(
            f"{path}: no row is in the official layout, {OFFICIAL} "
            f"({found.left_out if found.rows else 'it is empty'}); {_hint(first)}"
        )
    if found.spaced > max_bad * len(found.texts):
        raise SelfflError(
            f"{path}: {found.spaced:,} of {len(found.texts):,} users have names with spaces, such as "
            f"'{found.spaced_name[:40]}', so the columns are in another order; say it, such as by "
            "--columns polarity,id,date,query,text,user"
        )
    return _labelled(path, found, max_bad)


def _hint(first: bytes) -> str:
    if (seen := separator_of(first)) is not None:
        return f"its columns seem to be separated by '{seen}': add --separator '{seen}'"
    return f"say another order by --columns, such as --columns polarity,user,text, or give --source {SOURCE}"


def _labelled(path: Path, found: Rows, max_bad: float) -> Tweets:
    """The rows with a polarity that is read as negative (0) or positive (1); the others are left out."""
    written = {value: plain(value) for value in found.polarities}
    seen = set(written.values())
    scheme = next((s for s in SCHEMES if set(s) <= seen and not (s == {"0": 0, "1": 1} and "2" in seen)), None)
    if scheme is None:
        counts = ", ".join(f"'{value}' {count:,} times" for value, count in list(found.where.counts.items())[:8])
        raise SelfflError(
            f"{path}: no two of its labels are negative and positive ({counts}); 0 and 4 are read, 0 and 1, -1 and 1, "
            "and the words negative and positive; write them so, or name the columns by --columns"
        )
    kept = {value: scheme[name] for value, name in written.items() if name in scheme}
    for value, name in written.items():
        if value not in kept:
            neutral = name in ("2", "neutral")
            what = "neutral (polarity 2)" if neutral else "of a polarity other than 0, 2 and 4"
            found.left_out.merge(what, found.where.counts[value], found.where.lines[value])
    table = np.array([kept.get(value, -1) for value in found.polarities], np.int64)
    label = table[np.array(found.polarity, np.int64)]
    user, users, texts = np.array(found.user, np.int64), list(found.users), found.texts
    if (label < 0).any():
        usable = label >= 0
        texts = [text for text, use in zip(texts, usable.tolist(), strict=True) if use]
        label = label[usable]
        known, user = np.unique(user[usable], return_inverse=True)
        users = [users[number] for number in known]
    bad = found.rows - len(texts)
    if bad > max_bad * found.rows:
        raise SelfflError(
            f"{path}: {bad:,} of {found.rows:,} rows would be left out ({found.left_out}), more than {max_bad:.1%}; "
            "mend the file or allow more by --max-bad"
        )
    notes: dict[str, Any] = {
        "rows": found.rows,
        "left_out": f"{bad:,} rows" + (f": {found.left_out}" if found.left_out.counts else ""),
        "encoding": str(found.odd) or "plain",
        "left_out_rows": found.left_out.counts,
        "encoding_rows": found.odd.counts,
    }
    if set(kept) != {"0", "4"}:
        negative, positive = (" or ".join(v for v, number in kept.items() if number == c) for c in (0, 1))
        notes["labels"] = f"{negative} is read as negative, {positive} as positive"
    return Tweets(label, user, texts, users, notes)


def plain(polarity: str) -> str:
    """A label as one writes it: 4.0 is 4, and Positive is positive."""
    with suppress(ValueError, OverflowError):
        if float(polarity) == int(float(polarity)):
            return str(int(float(polarity)))
    return polarity.lower()


def _header(line: bytes, separator: str) -> Layout | None:
    """The layout that a first row of names tells, None where it is a tweet."""
    names = fields(line.decode("utf-8", "replace").strip("\r\n"), separator)
    with suppress(ValueError):
        return layout(",".join(name.replace(",", " ") for name in names or []))
    return None


def _row(line: bytes, encoding: str, separator: str, order: Layout) -> tuple[str, str, str, str] | str:
    """(polarity, user, text, what is odd in its encoding) of a row, or why it cannot be used."""
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
    values = fields(content, separator)
    if values is None:
        return "with broken quotes"
    if len(values) != order.width:
        return "with missing columns" if len(values) < order.width else "with too many columns"
    polarity, user = values[order.polarity].strip(), values[order.user].strip()
    if not user:
        return "without a user"
    return polarity, user, values[order.text], odd
