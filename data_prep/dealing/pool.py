"""What a data set hands over before it is dealt to clients, and the options every data set has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from selffl_cli.config.validation import Strict
from selffl_cli.errors import UsageError

from .partition import canonical

TRAIN, VALIDATION, TEST = 0, 1, 2
# of an option that came later: while it has its default, records and names are as they were before there was one
LATER: dict[str, Any] = {"later": True}
PARTITION_HELP = (
    "How samples are dealt to clients: natural, iid, dirichlet:alpha=0.3, dirichlet-size:alpha=1, "
    "powerlaw:exponent=1, shards:classes=2 or kmeans:alpha=0.3,clusters=10; most take spread=… (of sizes) "
    "or exponent=… (sizes by a power law), and min=…."
)


class PrepareOptions(Strict):
    """Options of every data set; a data set adds its own and sets its defaults.

    Naming the partition `natural` drops a data set's default number of clients: they are as the source has
    them.
    """

    clients: int | None = Field(None, ge=1, le=10_000_000, description="Number of clients.")
    partition: str = Field("iid", description=PARTITION_HELP)
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of everything that is drawn.")
    validation: float = Field(0.1, ge=0, lt=1, description="Share of a client's training samples kept apart.")
    test: float = Field(0.2, ge=0, lt=1, description="Share of a client's samples kept for testing.")
    periods: int = Field(1, ge=1, le=1000, description="Periods in which each client's data comes in.")
    drift: Literal["time", "label", "intent"] | None = Field(
        None, description="What changes from period to period: time, label or intent."
    )

    @model_validator(mode="before")
    @classmethod
    def _natural_clients(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("clients") is None and "clients" in cls.model_fields:
            asked = str(values.get("partition") or "").partition(":")[0].strip()
            if asked == "natural" and cls.model_fields["partition"].default != "natural":
                return {**values, "clients": None}
        return values

    @model_validator(mode="after")
    def _drift(self) -> PrepareOptions:
        if (self.periods > 1) != (self.drift is not None):
            missing = "drift (time, label or intent)" if self.periods > 1 else "periods (2 or more)"
            raise ValueError(f"periods and drift go together; add --{missing}")
        return self

    @field_validator("partition")
    @classmethod
    def _canonical(cls, value: str) -> str:
        return canonical(value)


@dataclass
class Pool:
    """A data set before it is dealt out: every array has one row a sample, `x` and `y` are among them.

    `client` [n] is the natural client index of each sample, `part` [n] its part (0 train, 1 validation, 2
    test) where the source fixes them. `orders` are what samples can drift by besides their label: `time` (a
    place in the source's own order) or `intent` (a class), each [n]. `features` gives [n, d] (dense or sparse)
    for k-means; without it a float x is used.
    """

    arrays: dict[str, np.ndarray]
    classes: list[str]
    citation: str
    task: Literal["classification", "gaussian", "regression", "language-model", "tagging"] = "classification"
    client: np.ndarray | None = None
    client_names: list[str] | None = None
    features: Callable[[], Any] | None = None
    part: np.ndarray | None = None
    orders: dict[str, np.ndarray] = field(default_factory=dict)
    shared: dict[str, np.ndarray] = field(default_factory=dict)
    client_columns: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, Any] = field(default_factory=dict)
    sources: list[dict[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.arrays["y"])


@dataclass(frozen=True)
class Assignment:
    """The deal: client index, part (0 train, 1 validation, 2 test) and period of each sample, all [n]."""

    client: np.ndarray
    part: np.ndarray
    num_clients: int
    period: np.ndarray | None = None  # None: all in one

    def rows(self, part: int) -> np.ndarray:
        """Indices of the samples of a part."""
        return np.flatnonzero(self.part == part)


def generator(seed: int, purpose: str) -> np.random.Generator:
    """Random numbers that depend on (seed, purpose) alone: no purpose ever shifts what another one draws."""
    digest = hashlib.sha256(purpose.encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest[:16], np.uint32).tolist()])


def draw_clients(client: np.ndarray, clients: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """So many of the natural clients, drawn from the seed: who they are, ascending [clients], and the
    index of each sample's client among them, or -1 [n]. UsageError when there are fewer.
    """
    total = int(client.max()) + 1
    if clients > total:
        raise UsageError(f"partition natural has {total:,} clients, not {clients:,}; ask for fewer --clients")
    drawn = np.sort(generator(seed, "natural clients").permutation(total)[:clients])
    index = np.full(total, -1)
    index[drawn] = np.arange(clients)
    return drawn, index[client]
