"""Any table with a row a sample and a column that says whose it is: CSV, TSV, Parquet, JSON lines or ARFF."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator

from selffl_cli.errors import SelfflError, UsageError
from selffl_cli.shards import sha256

from ..dataset import DataSet, Stage
from ..dealing.deal import split_by
from ..dealing.pool import TRAIN, Assignment, Pool, PrepareOptions, draw_clients
from ..tables.columns import DISTINCT, Column, Kind, Roles, is_class, kinds, look
from ..tables.encode import encode, moments
from ..tables.rows import Rows, Wanted, read_rows
from ..tables.streams import TAKES, batches
from ..texts import text
from ..texts.tokens import TokenPool, finish_tokens

SOURCE = TAKES
EXAMPLES = (
    "selffl prepare table sales.csv --client shop --target returned",
    "selffl prepare table reviews.jsonl --client user --target stars --text review",
    "selffl prepare table log.parquet --client user --target clicked --time date --split time",
)


class Options(PrepareOptions):
    client: str = Field("", description="The column that says whose a row is. [required]")
    target: str = Field("", description="The column that is to be predicted. [required]")
    features: str | None = Field(
        None, description="The columns to predict from, as a,b,c; default: all that are numbers or categories."
    )
    categories: str | None = Field(None, description="Columns of numbers that are names of things, as a,b,c.")
    text: str | None = Field(None, description="The column of texts to predict from, in place of features.")
    time: str | None = Field(None, description="The column of dates or numbers by which rows are ordered.")
    time_format: str | None = Field(None, description="How dates are written, such as %d/%m/%Y; default: ISO 8601.")
    split: Literal["random", "time"] = Field(
        "random", description="time: a client's last rows are for testing, the ones before for validation."
    )
    task: Literal["auto", "classification", "regression"] = Field(
        "auto", description="auto: words, and whole numbers of at most 20 values, are classes; else a number."
    )
    partition: str = Field("natural", description="natural: clients as the table has them; or dealt, as name:option=….")
    at_least: int = Field(1, ge=1, description="natural: a client with so many rows or more.")
    most_categories: int = Field(50, ge=2, le=10_000, description="A column of words with more values is left out.")
    separator: str | None = Field(
        None, min_length=1, max_length=1, description="Default: the likeliest of , ; | and tab."
    )
    decimal: Literal[".", ","] = Field(".", description="What stands before a number's fraction.")
    max_bad: float = Field(0.05, ge=0, le=1, description="More rows left out than this share are an error.")
    tokens: int = Field(25, ge=1, le=1000, description="--text: tokens kept of a text.")
    min_count: int = Field(2, ge=1, description="--text: rarer tokens of the training texts are unknown.")
    max_words: int = Field(50_000, ge=1, le=10_000_000, description="--text: at most so many tokens are known.")
    embeddings: Path | None = Field(
        None, description="--text: GloVe text file; default: vectors of the training texts."
    )
    embedding_dimensions: int = Field(100, ge=1, le=4096, description="--text: width of the word vectors.")

    @model_validator(mode="after")
    def _columns(self) -> Options:
        for option in ("client", "target"):
            if not getattr(self, option):
                raise ValueError(f"needs --{option} COLUMN, the column {_PARTS[option]}")
        if self.text is not None and self.features is not None:
            raise ValueError("a model here sees a text or features, not both; leave out --text or --features")
        if self.split == "time" and (self.time is None or self.partition != "natural" or self.periods > 1):
            raise ValueError("--split time needs --time COLUMN, and is for natural clients in one period")
        return self

    @property
    def roles(self) -> Roles:
        """Which column is what, as it was asked for."""
        features = None if self.features is None else _names(self.features)
        return Roles(self.client, self.target, self.text, self.time, features, _names(self.categories or ""))


_PARTS = {"client": "that says whose a row is", "target": "that is to be predicted"}


def _names(listed: str) -> list[str]:
    return [name.strip() for name in listed.split(",") if name.strip()]


@dataclass
class TablePool(Pool):
    """A pool whose `x` is empty until `finish`, when the training samples are known."""

    rows: Rows | None = None
    wanted: Wanted | None = field(default=None)


@lru_cache(maxsize=1)
def _looked(source: Path, changed: int, separator: str | None, decimal: str) -> dict[str, Column]:
    return look(source, separator, decimal)


def understood(options: Options, source: Path) -> tuple[dict[str, Column], dict[str, tuple[Kind, str]]]:
    """What every column holds, and what each becomes; the table is read once for both `describe` and `load`."""
    options.roles.check(source, next(batches(source, options.separator)).schema.names)
    columns = _looked(source, source.stat().st_mtime_ns, options.separator, options.decimal)
    return columns, kinds(source, columns, options.roles, options.most_categories)


def describe(options: Options, source: Path) -> list[str]:
    """What was understood of each column, a line each, for a person to read before anything is written."""
    columns, features = understood(options, source)
    rows = next(iter(columns.values())).rows
    told = [f"{source.name}: {rows:,} rows, {len(columns)} columns"]
    for name, column in columns.items():
        if name in features:
            kind, why = features[name]
            said = f"{kind}, {why}"
        else:
            said = _role(options, column)
        missing = f"; {column.missing:,} missing" if column.missing else ""
        told.append(f"{name}: {said}{missing}")
    return told


def _role(options: Options, column: Column) -> str:
    if column.name == options.client:
        return f"the client, {column.values} values"
    if column.name == options.target:
        return f"the target, {'a class' if _classes(options, column) else 'a number'}, {column.values} values"
    return "the text" if column.name == options.text else "the time"


def _classes(options: Options, column: Column) -> bool:
    return options.task == "classification" or (options.task == "auto" and is_class(column))


def _check(options: Options, source: Path, columns: Mapping[str, Column], wanted: Wanted) -> None:
    target = columns[options.target]
    if not wanted.classes and not target.is_number:
        raise UsageError(
            f"--target {options.target}: holds words, such as '{target.first_word[:30]}', and --task regression "
            "predicts numbers; leave --task out"
        )
    if wanted.classes and target.distinct is None:
        raise SelfflError(f"{source}: target '{options.target}' has more than {DISTINCT:,} classes; name another")
    if target.distinct is not None and len(target.distinct) < 2:
        raise SelfflError(f"{source}: target '{options.target}' has one value, so there is nothing to predict")
    if options.text is None and not wanted.named("number") and not wanted.named("category"):
        raise SelfflError(f"{source}: no column is left to predict from; name some by --features, or a text by --text")


def _left_out(options: Options, source: Path, rows: Rows) -> dict[str, Any]:
    """Notes on rows without client or target; SelfflError where they are too many."""
    count, kept = sum(rows.without.values()), len(rows.client)
    said = ", ".join(
        f"{number:,} without a {part} ('{getattr(options, part)}')" for part, number in rows.without.items() if number
    )
    if count > options.max_bad * (kept + count) or not kept:
        raise SelfflError(
            f"{source}: {count:,} of {kept + count:,} rows would be left out: {said}; fill them in, or allow it by "
            "--max-bad"
        )
    return {"rows_left_out": said} if count else {}


def _natural(options: Options, source: Path, rows: Rows, notes: dict[str, Any]) -> tuple[np.ndarray, list[str]]:
    """Clients with rows enough, or so many of them drawn: their index for each row that is kept, and their names."""
    sizes = np.bincount(rows.client, minlength=len(rows.clients))
    kept = np.flatnonzero(sizes >= options.at_least)
    if not len(kept):
        raise SelfflError(f"{source}: no client has {options.at_least} rows (most: {sizes.max():,}); lower --at-least")
    notes["clients_in_all"] = int((sizes > 0).sum())
    if alone := int((sizes[kept] == 1).sum()):
        notes["clients_with_one_row"] = f"{alone:,}, which train and are never judged"
    index = np.full(len(sizes), -1)
    index[kept] = np.arange(len(kept))
    client = index[rows.client]
    if options.clients is not None:
        drawn, at = draw_clients(np.arange(len(kept)), options.clients, options.seed)
        kept = kept[drawn]
        client = np.where(client >= 0, at[client], -1)
    chosen = client >= 0
    if not chosen.all():
        rows.keep(chosen)
    return client[chosen], [rows.clients[code] for code in kept]


def finish(pool: Pool, assignment: Assignment, options: Options) -> None:
    """Once the split is known: x float32 [n, d] scaled by the training samples, or token indices of the texts; a number
    to predict is scaled, too, and the notes say by what.

    `features` in `shared`, uint8, holds the names of the d columns, a line each.
    """
    train = assignment.rows(TRAIN)
    if pool.task == "regression":
        mean, deviation = (float(value[0]) for value in moments(pool.arrays["y"][:, None], train))
        pool.arrays["y"] = ((pool.arrays["y"] - mean) / deviation).astype(np.float32)
        pool.notes |= {"target_mean": mean, "target_standard_deviation": deviation}
    if isinstance(pool, TokenPool):
        finish_tokens(
            pool, train, options.embeddings, options.embedding_dimensions, options.min_count, options.max_words,
            options.seed,
        )  # fmt: skip
        return
    assert isinstance(pool, TablePool) and pool.rows is not None and pool.wanted is not None
    names, categories = pool.wanted.named("number"), pool.wanted.named("category")
    x, columns = encode(pool.rows, train, names, categories)
    pool.arrays["x"], pool.rows = x, None
    pool.shared["features"] = np.frombuffer("\n".join(columns).encode(), np.uint8)
    pool.notes["features"] = f"{len(columns)}: {', '.join(columns[:8])}{', …' if len(columns) > 8 else ''}"


class Table(DataSet):
    """Your own table: rows with a client, a target and features or a text."""

    options_type = Options
    source = SOURCE
    examples = EXAMPLES

    def load(self, options: Options, source: Path | None, stage: Stage) -> Pool:
        """y int64 [n], the class of each row, or float32 [n], a number; x as `finish` makes it.

        Natural clients are the values of a column.
        """
        assert source is not None
        columns, features = understood(options, source)
        target = columns[options.target]
        wanted = Wanted(
            options.roles, features, _classes(options, target), options.decimal, options.time_format, options.tokens
        )
        _check(options, source, columns, wanted)
        rows = read_rows(source, options.separator, wanted)
        notes = _left_out(options, source, rows)
        client, names = rows.client.astype(np.int64), rows.clients
        if options.partition == "natural":
            client, names = _natural(options, source, rows, notes)
        common: dict[str, Any] = {
            "classes": rows.classes, "citation": "", "client": client, "client_names": names, "notes": notes,
            "orders": {} if rows.time is None else {"time": rows.time},
            "sources": [{"name": source.name, "sha256": sha256(source)}],
        }  # fmt: skip
        if options.split == "time":
            assert rows.time is not None
            latest = -np.argsort(np.argsort(rows.time, kind="stable"))  # of equal times, what stands later in the table
            common["part"] = split_by(client, options.validation, options.test, latest)
        y = rows.target.astype(np.int64 if wanted.classes else np.float32)
        common["task"] = "classification" if wanted.classes else "regression"
        if rows.tokens is not None:
            x, size = rows.tokens, len(rows.words)
            return TokenPool(
                arrays={"x": x, "y": y}, words=rows.words, features=lambda: text.tfidf(x, size, options.seed), **common
            )
        everyone = np.arange(len(y))
        return TablePool(
            arrays={"x": np.zeros((len(y), 0), np.float32), "y": y}, rows=rows, wanted=wanted,
            features=lambda: encode(rows, everyone, wanted.named("number"), wanted.named("category"))[0], **common,
        )  # fmt: skip

    def finish(self, pool: Pool, assignment: Assignment, options: Any) -> None:
        finish(pool, assignment, options)

    def describe(self, options: Any, source: Path | None) -> list[str]:
        assert source is not None
        return describe(options, source)
