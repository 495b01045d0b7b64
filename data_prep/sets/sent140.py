"""Sentiment140: 1.6 million tweets by 660,000 users, labelled by the emoticon that was taken out of them.

Only the text is ever a feature: the date predicts the label (negative ones were collected earlier), and so
does the id.
"""

from __future__ import annotations

import hashlib
import shlex
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from selffl_cli.config.spec import format_spec, parse_spec
from selffl_cli.errors import SelfflError
from selffl_cli.shards import sha256

from ..dataset import DataSet, Stage
from ..dealing.pool import LATER, TRAIN, Assignment, Pool, PrepareOptions, generator
from ..texts import text
from ..texts.tokens import TokenPool, finish_tokens
from ..texts.tweets import MAX_BAD, OFFICIAL, SOURCE, URL, URL_SHA256, Tweets, from_hub, layout, read

SOURCE_URL, SOURCE_SHA256 = URL, URL_SHA256
NAMED_SOURCES = {"hub": from_hub}

CITATION = (
    "A. Go, R. Bhayani, L. Huang: Twitter Sentiment Classification using Distant Supervision, project "
    "report, Stanford University, 2009"
)
CLIENTS, SPREAD, LEAST = 772, 0.6, 31 / 53  # FedProx's set: 53 ± 32 tweets a client, 31 at least


class Options(PrepareOptions):
    partition: str = Field(
        "natural",
        description="natural: clients are users, as FedProx took them; or dealt, as name:option=value,….",
    )
    fraction: float = Field(
        0.3, gt=0, le=1, description="natural: whole users are drawn up to this share of all tweets."
    )
    more_than: int = Field(30, ge=0, description="natural: a user with more tweets than this is a client.")
    user_hash: bool = Field(False, description="natural: name clients by a hash instead of the user's name.")
    tokens: int = Field(25, ge=1, le=1000, description="Tokens kept of a tweet.")
    lower: bool = Field(True, description="Lower-case tokens (FedProx's reference does not, though GloVe is).")
    encoding: Literal["auto", "latin-1"] = Field(
        "auto", description="latin-1 throughout, as published; auto reads lines that are valid UTF-8 as such."
    )
    min_count: int = Field(
        2, ge=1, description="Rarer tokens of the training tweets are unknown (not with --embeddings)."
    )
    max_words: int = Field(
        50_000,
        ge=1,
        le=10_000_000,
        description="At most so many tokens are known, the most frequent ones (not with --embeddings).",
    )
    columns: str = Field(
        OFFICIAL, json_schema_extra=LATER, description="The columns in their order, where no first row names them."
    )
    separator: str = Field(
        ",",
        pattern=r"^(\\t|[^\s\"\\]|\t)$",
        json_schema_extra=LATER,
        description="What stands between columns: , ; | or \\t.",
    )
    max_bad: float = Field(
        MAX_BAD, ge=0, le=1, json_schema_extra=LATER, description="More rows left out than this share are an error."
    )
    embeddings: Path | None = Field(None, description="GloVe text file; without it vectors come from training tweets.")
    embedding_dimensions: int = Field(100, ge=1, le=4096, description="Width of the word vectors.")

    @field_validator("columns")
    @classmethod
    def _named(cls, value: str) -> str:
        layout(value)
        return value

    @model_validator(mode="before")
    @classmethod
    def _dealt_like_the_published(cls, values: Any) -> Any:
        """Tweets dealt by label or cluster: as many clients, with sizes spread as FedProx's (32/53 of the mean)."""
        if isinstance(values, dict) and isinstance(values.get("partition"), str):
            name, options = parse_spec(values["partition"])
            if name in ("dirichlet", "kmeans"):
                options = {"alpha": 2.0, "spread": SPREAD, **options}
                clients = values.get("clients") or CLIENTS
                return {**values, "partition": format_spec(name, options), "clients": clients}
        return values


def natural(tweets: Tweets, options: Options, path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """LEAF's non-IID sample as FedProx took it: rows [n], their client [n], and the users behind the clients
    [M].

    Users in an order drawn from the seed, whole ones taken until they have `fraction` of all tweets, and of
    those the ones with more than `more_than` tweets. Which users these are does not depend on the order of
    the file's lines.
    """
    sizes = np.bincount(tweets.user, minlength=len(tweets.users))
    by_name = np.array(sorted(range(len(tweets.users)), key=tweets.users.__getitem__))
    order = by_name[generator(options.seed, "users").permutation(len(by_name))]
    before = np.cumsum(sizes[order]) - sizes[order]
    taken = order[before < options.fraction * sizes.sum()]
    kept = taken[sizes[taken] > options.more_than]
    if len(kept) < 2:
        raise SelfflError(_too_thin(path, len(kept), sizes, options))
    index = np.full(len(sizes), -1)
    index[kept] = np.arange(len(kept))
    rows = np.flatnonzero(index[tweets.user] >= 0)
    return rows, index[tweets.user[rows]], kept


def _too_thin(path: Path, clients: int, sizes: np.ndarray, options: Options) -> str:
    total = int(sizes.sum())
    most = CLIENTS if total > 10 * CLIENTS else max(total // 10, 1)
    least = max(int(LEAST * total / most), 1)
    return (
        f"{path}: partition natural would give {clients} clients (users with more than {options.more_than} "
        f"tweets, among those drawn for {options.fraction:.0%} of the tweets; {len(sizes):,} users wrote "
        f"{total:,} tweets, the busiest {sizes.max()}); deal them out instead: selffl prepare sent140 "
        f"--source {shlex.quote(str(path))} --clients {most} "
        f"--partition dirichlet:alpha=2,spread={SPREAD},min={least}"
    )


def _hashed(user: str) -> str:
    return hashlib.sha256(user.encode()).hexdigest()[:16]


def finish(pool: Pool, assignment: Assignment, options: Options) -> None:
    """Once the split is known: final token indices, and their frozen vectors in `shared`."""
    assert isinstance(pool, TokenPool)
    finish_tokens(
        pool, assignment.rows(TRAIN), options.embeddings, options.embedding_dimensions, options.min_count,
        options.max_words, options.seed,
    )  # fmt: skip


class Sent140(DataSet):
    """Sentiment140 tweets, positive or negative, by user or dealt out."""

    options_type = Options
    source = SOURCE
    source_url = SOURCE_URL
    source_sha256 = SOURCE_SHA256
    named_sources = NAMED_SOURCES

    def load(self, options: Options, source: Path | None, stage: Stage) -> Pool:
        """x int32 [n, tokens], token indices padded with 0 at the end; y int64 [n], 0 negative and 1 positive."""
        if source is None:
            raise ValueError("tweets are never without a source here")
        tweets = read(source, options.encoding, options.max_bad, options.separator, options.columns)
        notes = {**tweets.notes, "users": len(tweets.users)}
        chosen, client, names = np.arange(len(tweets.texts)), None, None
        if options.partition == "natural":
            chosen, client, kept = natural(tweets, options, source)
            names = [_hashed(tweets.users[u]) if options.user_hash else tweets.users[u] for u in kept]
        encoder = text.Encoder(options.lower, options.tokens)
        x = encoder.encode(tweets.texts[i] for i in chosen)
        y = tweets.label[chosen]
        notes["tweets_without_tokens"] = int((x[:, 0] == text.PADDING).sum())
        size = len(encoder.words)
        return TokenPool(
            arrays={"x": x, "y": y},
            classes=["negative", "positive"],
            citation=CITATION,
            client=client,
            client_names=names,
            features=lambda: text.tfidf(x, size, options.seed),
            notes=notes,
            sources=[{"name": source.name, "sha256": sha256(source)}],
            words=encoder.words,
        )

    def finish(self, pool: Pool, assignment: Assignment, options: Any) -> None:
        finish(pool, assignment, options)
