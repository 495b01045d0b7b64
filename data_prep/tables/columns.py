"""What each column of a table is, found in one pass over it and said before anything is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from selffl_cli.errors import SelfflError, UsageError, nearest

from .streams import batches
from .values import as_numbers, as_text

Kind = Literal["number", "category", "left out"]
DISTINCT = 1000  # values of a column that are remembered
ALMOST = 0.95  # so many numbers, and the others are taken for mistakes
SMALL = 20  # whole numbers of so few values are classes where they are the target


@dataclass
class Column:
    """What one pass has seen of a column."""

    name: str
    rows: int = 0
    missing: int = 0
    words: int = 0  # values that are no number
    first_word: str = ""
    whole: bool = True  # all numbers are whole
    counts_rows: bool = True  # each number is one more than the one before
    last: float = float("nan")
    lowest: float = float("inf")
    highest: float = float("-inf")
    distinct: set[str] | None = field(default_factory=set)  # None: more than DISTINCT

    @property
    def is_number(self) -> bool:
        """Whether every value that there is is a number."""
        return self.words == 0 and self.missing < self.rows

    @property
    def values(self) -> str:
        """How many values, in words."""
        return f"more than {DISTINCT:,}" if self.distinct is None else f"{len(self.distinct):,}"

    def see(self, values: object, decimal: str) -> None:
        """One more batch of the column."""
        numbers, word, count = as_numbers(values, decimal)
        known = numbers[~np.isnan(numbers)]
        self.rows += len(numbers)
        self.missing += len(numbers) - len(known) - count
        self.words += count
        self.first_word = self.first_word or word or ""
        if len(known):
            self.whole = self.whole and bool((known == np.floor(known)).all())
            steps = np.diff(np.concatenate([[self.last], numbers]))
            self.counts_rows = self.counts_rows and bool((steps[int(np.isnan(self.last)) :] == 1).all())
            self.last = float(numbers[-1])
            self.lowest, self.highest = min(self.lowest, known.min()), max(self.highest, known.max())
        if self.distinct is not None:
            import pyarrow.compute as pc

            found = pc.unique(as_text(values)).drop_null()
            self.distinct |= set(found.slice(0, DISTINCT + 1).to_pylist())
            if len(self.distinct) > DISTINCT:
                self.distinct = None


@dataclass(frozen=True)
class Roles:
    """Which columns were given which part, by name; `features` and `categories` None where that is left to us."""

    client: str
    target: str
    text: str | None = None
    time: str | None = None
    features: Sequence[str] | None = None
    categories: Sequence[str] = ()

    def check(self, path: Path, names: Sequence[str]) -> None:
        """UsageError for a column that is not there, or that has two parts."""
        given = {"--client": self.client, "--target": self.target, "--text": self.text, "--time": self.time}
        for option, name in given.items():
            if name is not None and name not in names:
                raise UsageError(
                    f"{option} {name}: {path} has no such column{nearest(name, names)}; it has {', '.join(names[:12])}"
                )
        for name in [*(self.features or ()), *self.categories]:
            if name not in names:
                raise UsageError(f"column '{name}': {path} has no such column{nearest(name, names)}")
        used = [name for name in given.values() if name is not None]
        for name in used:
            if used.count(name) > 1:
                raise UsageError(f"column '{name}' cannot be two things at once; name another one")
        for name in self.features or ():
            if name in (self.client, self.target):
                what = "target" if name == self.target else "client"
                raise UsageError(f"--features: '{name}' is the {what}, which no feature may tell; leave it out")


def look(path: Path, separator: str | None, decimal: str) -> dict[str, Column]:
    """One pass over the table: what each column holds, in the order of the file."""
    columns: dict[str, Column] = {}
    for batch in batches(path, separator):
        if not columns:
            columns = {name: Column(name) for name in batch.schema.names}
        for name, values in zip(batch.schema.names, batch.columns, strict=True):
            if name not in columns:
                raise SelfflError(f"{path}: a row has a column '{name}' that the first rows have not")
            columns[name].see(values, decimal)
    return columns


def kinds(path: Path, columns: Mapping[str, Column], roles: Roles, most_categories: int) -> dict[str, tuple[Kind, str]]:
    """What each feature becomes, with the reason in words. SelfflError where a column of numbers holds words."""
    taken = {roles.client, roles.target, roles.text, roles.time}
    found: dict[str, tuple[Kind, str]] = {}
    for name, column in columns.items():
        if name in taken:
            continue
        if roles.features is not None and name not in roles.features:
            found[name] = ("left out", "not among --features")
        elif roles.text is not None and roles.features is None:
            found[name] = ("left out", "the text is the input")
        else:
            found[name] = _kind(path, column, roles, most_categories)
    return found


def _kind(path: Path, column: Column, roles: Roles, most: int) -> tuple[Kind, str]:
    name, asked = column.name, roles.features is not None and column.name in roles.features
    if column.missing == column.rows:
        return "left out", "it has no value"
    if column.distinct is not None and len(column.distinct) == 1 and not column.missing:
        return "left out", "it has one value"
    if column.is_number and name not in roles.categories:
        if column.counts_rows and column.rows > 1 and not asked:
            return "left out", "it counts the rows"
        return "number", f"from {column.lowest:.6g} to {column.highest:.6g}"
    share = 1 - column.words / max(column.rows - column.missing, 1)
    if share >= ALMOST and name not in roles.categories:
        raise SelfflError(
            f"{path}: column '{name}' holds numbers and {column.words:,} values that are none, such as "
            f"'{column.first_word[:40]}'; mend them, leave them empty, or say --categories {name}"
        )
    if column.distinct is None or len(column.distinct) > most:
        if asked or name in roles.categories:
            raise SelfflError(
                f"{path}: column '{name}' has {column.values} different values, more than --most-categories {most}; "
                "raise that, or leave the column out"
            )
        return "left out", f"it has {column.values} different values, such as '{column.first_word[:30]}'"
    return "category", f"{column.values} values"


def is_class(column: Column) -> bool:
    """Whether a target is a class rather than a number to predict."""
    few = column.distinct is not None and len(column.distinct) <= SMALL
    return not column.is_number or (few and column.whole)
