"""A table's rows as arrays, a batch at a time, so that what is in memory is numbers and no text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from selffl_cli.errors import SelfflError

from ..texts.lines import nfc
from ..texts.text import Encoder
from .columns import Kind, Roles
from .streams import batches
from .values import as_numbers, as_text

MISSING_CODE = -1


class Codes:
    """A number for each different text, from 0 in the order in which they come."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}

    def encode(self, text: object) -> np.ndarray:
        """int32 [n]; -1 where there is no text. Equal names are equal however their accents are written."""
        import pyarrow

        encoded = text.dictionary_encode()  # type: ignore[attr-defined]
        own = [self.index.setdefault(nfc(word), len(self.index)) for word in encoded.dictionary.to_pylist()]
        table = np.array([*own, MISSING_CODE], np.int32)
        return table[encoded.indices.fill_null(pyarrow.scalar(len(own), encoded.indices.type)).to_numpy()]

    @property
    def names(self) -> list[str]:
        """The texts in order of their number."""
        return list(self.index)


@dataclass
class Rows:
    """A table's rows that have a client and a target."""

    client: np.ndarray  # int32 [n]
    clients: list[str]
    target: np.ndarray  # int32 [n] codes, or float64 [n]
    classes: list[str]  # of codes; empty for numbers
    numbers: np.ndarray  # float32 [n, f], NaN where a value is missing
    categories: np.ndarray  # int32 [n, g] codes, -1 where a value is missing
    levels: list[list[str]]  # of each category
    tokens: np.ndarray | None = None  # int32 [n, tokens] of the text
    words: list[str] = field(default_factory=list)
    time: np.ndarray | None = None  # float64 [n]
    without: dict[str, int] = field(default_factory=dict)  # rows left out, and for what

    def keep(self, chosen: np.ndarray) -> None:
        """Only these rows [k]."""
        self.client, self.target = self.client[chosen], self.target[chosen]
        self.numbers, self.categories = self.numbers[chosen], self.categories[chosen]
        self.tokens = None if self.tokens is None else self.tokens[chosen]
        self.time = None if self.time is None else self.time[chosen]


@dataclass(frozen=True)
class Wanted:
    """How the columns are to be read."""

    roles: Roles
    kinds: Mapping[str, tuple[Kind, str]]
    classes: bool  # whether the target is a class
    decimal: str = "."
    time_format: str | None = None
    tokens: int = 25

    def named(self, kind: Kind) -> list[str]:
        """The features of one kind, in the order of the file."""
        return [name for name, (found, _) in self.kinds.items() if found == kind]


def read_rows(path: Path, separator: str | None, wanted: Wanted) -> Rows:
    """All rows that have a client and a target, in the order of the file."""
    reader = _Reader(path, wanted)
    for batch in batches(path, separator):
        reader.take(batch)
    return reader.rows()


class _Reader:
    def __init__(self, path: Path, wanted: Wanted) -> None:
        self.path, self.wanted = path, wanted
        self.clients, self.classes = Codes(), Codes()
        self.levels = [Codes() for _ in wanted.named("category")]
        self.encoder = Encoder(limit=wanted.tokens)
        self.parts: dict[str, list[np.ndarray]] = {}
        self.without = {"client": 0, "target": 0}
        self.seen = 0

    def take(self, batch: object) -> None:
        """One batch of rows."""
        roles, wanted = self.wanted.roles, self.wanted
        column = batch.column  # type: ignore[attr-defined]
        found = {"client": self.clients.encode(as_text(column(roles.client)))}
        if wanted.classes:
            found["target"] = self.classes.encode(as_text(column(roles.target)))
            has_target = found["target"] >= 0
        else:
            found["target"] = as_numbers(column(roles.target), wanted.decimal)[0]
            has_target = np.isfinite(found["target"])
        numbers = [as_numbers(column(name), wanted.decimal)[0] for name in wanted.named("number")]
        rows = len(found["client"])
        found["numbers"] = np.stack(numbers, 1).astype(np.float32) if numbers else np.zeros((rows, 0), np.float32)
        codes = [code.encode(as_text(column(name))) for name, code in self._categories()]
        found["categories"] = np.stack(codes, 1) if codes else np.zeros((rows, 0), np.int32)
        if roles.text is not None:
            texts = as_text(column(roles.text)).to_pylist()
            found["tokens"] = self.encoder.encode(text or "" for text in texts)
        if roles.time is not None:
            found["time"] = times(self.path, column(roles.time), wanted.time_format, self.seen)
        has_client = found["client"] >= 0
        self.without["client"] += int((~has_client).sum())
        self.without["target"] += int((has_client & ~has_target).sum())
        keep = has_client & has_target
        for name, values in found.items():
            self.parts.setdefault(name, []).append(values if keep.all() else values[keep])
        self.seen += rows

    def _categories(self) -> Iterator[tuple[str, Codes]]:
        yield from zip(self.wanted.named("category"), self.levels, strict=True)

    def rows(self) -> Rows:
        """All that was taken; each array's batches go as soon as they are joined."""
        joined = {}
        for name in list(self.parts):
            joined[name] = np.concatenate(self.parts.pop(name))
        return Rows(
            client=joined["client"], clients=self.clients.names, target=joined["target"], classes=self.classes.names,
            numbers=joined["numbers"], categories=joined["categories"], levels=[code.names for code in self.levels],
            tokens=joined.get("tokens"), words=self.encoder.words, time=joined.get("time"), without=self.without,
        )  # fmt: skip


def times(path: Path, values: object, how: str | None, before: int) -> np.ndarray:
    """float64 [n]: numbers as they are, dates as seconds. SelfflError names the first row that is neither."""
    import pandas
    import pyarrow

    kind = values.type  # type: ignore[attr-defined]
    if how is None and not pyarrow.types.is_temporal(kind):
        numbers, word, _ = as_numbers(values)
        if word is None and not np.isnan(numbers).any():
            return numbers
    text = as_text(values)
    series = text.to_pandas()
    found = pandas.to_datetime(series, format=how or "ISO8601", errors="coerce", utc=True)
    if (bad := np.flatnonzero(found.isna().to_numpy())).size:
        what = series.iloc[int(bad[0])]
        said = (
            "has no time"
            if what is None
            else f"has the time '{str(what)[:40]}', which is no date as {how or 'ISO 8601'}"
        )
        raise SelfflError(
            f"{path}: row {before + int(bad[0]) + 1} {said}; mend it, or give the form of its dates by --time-format, "
            "such as %d/%m/%Y"
        )
    return ((found - pandas.Timestamp(0, tz="UTC")) / pandas.Timedelta("1s")).to_numpy(np.float64)
