"""The `[train]` table: how long and how hard a method trains."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ..registry import reference
from . import memory as memories
from . import privacy as privacy_options
from . import sampler as sampler_options
from .spec import format_spec, parse_spec
from .validation import Strict, validate

# keys of [train] that came after the first runs
YOUNGER = (
    "new_clients", "eval_clients", "eval_parts", "sampler", "weighting", "privacy", "stop_at", "periods", "memory",
    "memory_size", "precision", "delivery_rounds", "delivery_average", "metrics",
)  # fmt: skip


MOST_ROUNDS = 200_000  # of a run: every round is a line of metrics.jsonl, which is read whole


class TrainConfig(Strict):
    """How long and how hard a method trains: the `[train]` table."""

    rounds: int = Field(100, ge=1, le=MOST_ROUNDS, description="communication rounds (with periods: of each period)")
    participation: float = Field(1.0, gt=0, le=1, description="share C of the clients in a round")
    clients_per_round: int | None = Field(None, ge=1, description="a fixed number of clients a round, instead of C")
    local_epochs: int | None = Field(None, ge=1, le=10_000, description="passes over a client's data a round")
    local_steps: int | None = Field(None, ge=1, le=1_000_000, description="steps a round, instead of epochs")
    batch_size: int | Literal["full"] = Field(10, description="samples a step, or 'full'")
    learning_rate: float = Field(0.1, gt=0, le=1e6, description="client learning rate eta")
    eval_every: int = Field(10, ge=1, description="rounds between evaluations; more than `rounds`: at the end alone")
    eval_clients: int | Literal["all"] = Field("all", description="clients in an evaluation: all, or a fixed sample")
    eval_parts: list[Literal["train", "validation", "test"]] = Field(
        ["train", "validation", "test"], min_length=1, description="parts of the data that evaluations score"
    )
    metrics: list[str] = Field([], description="figures of one's own to record beside the task's: file.py:Class, …")
    stop_at: float | None = Field(
        None, gt=0, le=1, description="end as soon as an evaluation finds this validation accuracy of the global model"
    )
    new_clients: float = Field(0.0, ge=0, lt=1, description="share of clients held out of training, judged at the end")
    delivery_rounds: int = Field(
        0, ge=0, le=1000, description="rounds in which every client makes its model once more at the end; 0: none"
    )
    delivery_average: Literal["iterates", "last"] = Field(
        "iterates", description="delivered models: the mean of the last half of the last round's iterates, or the last"
    )
    dtype: Literal["float32", "float64"] = "float32"
    precision: Literal["float32", "tf32", "bf16"] = Field(
        "float32", description="of training's matrix products: tf32 (GPU) and bf16 are faster and less exact"
    )
    sampler: str = Field("uniform", description="who takes part in a round, name:key=value,…")
    weighting: Literal["samples", "equal", "unbiased"] | None = Field(
        None, description="of the methods that average; None = each method's own"
    )

    privacy: str = Field("", description="user:… or sample:…, with clip, noise or target-epsilon, delta")
    periods: bool = Field(False, description="train on the data's periods one after another, not on all at once")
    memory: str = Field("none", description="what clients keep of earlier periods, name:key=value,…")
    memory_size: int | None = Field(None, ge=1, description="samples each client keeps ('none' and 'all' have no size)")

    @field_validator("memory")
    @classmethod
    def _memory(cls, value: str) -> str:
        return memories.canonical(value)

    @field_validator("metrics", mode="before")
    @classmethod
    def _listed(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @field_validator("sampler")
    @classmethod
    def _sampler(cls, value: str) -> str:
        """Of a sampler from outside the package only the form: reading a record runs no code."""
        if reference(value):
            return format_spec(*parse_spec(value))
        return sampler_options.canonical(value)

    @field_validator("privacy")
    @classmethod
    def _privacy(cls, value: str) -> str:
        return privacy_options.canonical(value)

    @field_validator("batch_size")
    @classmethod
    def _positive(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("a batch has at least one sample; write a positive number or 'full'")
        return value

    @field_validator("eval_clients")
    @classmethod
    def _somebody(cls, value: int | str) -> int | str:
        if isinstance(value, int) and value < 1:
            raise ValueError("an evaluation has at least one client; write a positive number or 'all'")
        return value

    @model_validator(mode="after")
    def _one_budget(self) -> TrainConfig:
        if self.dtype == "float64" and self.precision != "float32":
            raise ValueError(f"precision = '{self.precision}' is for dtype float32; leave one of the two out")
        if self.delivery_rounds and self.privacy.startswith("sample"):
            raise ValueError(
                "delivery_rounds: under privacy of samples the gradients of delivery are private, and epsilon does not "
                "count them; set delivery_rounds = 0"
            )
        if self.local_epochs and self.local_steps:
            raise ValueError("give local_epochs or local_steps, not both")
        memories.consistent(self.periods, self.memory, self.memory_size)
        if self.clients_per_round and self._poisson():
            raise ValueError("poisson's q sets how many clients a round has; leave clients_per_round out")
        return self

    def _poisson(self) -> sampler_options.Poisson | None:
        sampler = None if reference(self.sampler) else sampler_options.sampler(self.sampler)
        return sampler if isinstance(sampler, sampler_options.Poisson) else None

    def budget(self, samples: int) -> int:
        """FedAvg's local steps for a client of `samples` training samples (one epoch unless told otherwise)."""
        if self.local_steps:
            return self.local_steps
        per_epoch = 1 if self.batch_size == "full" else -(-samples // int(self.batch_size))
        return max(1, (self.local_epochs or 1) * per_epoch)

    def evaluates(self, round_: int) -> bool:
        """Whether all clients are scored after this round; round 0 is the start."""
        return round_ == self.rounds or (round_ % self.eval_every == 0 and self.eval_every <= self.rounds)

    def cohort_size(self, clients: int) -> int:
        """Clients that take part in a round: max(floor(C M), 1) (McMahan et al. 2017); expected ones for poisson."""
        poisson = self._poisson()
        if poisson:
            return max(round(poisson.q * clients), 1)
        if self.clients_per_round:
            return min(self.clients_per_round, clients)
        return max(int(self.participation * clients + 1e-9), 1)


# two keys that say the same thing in two ways: who names one of them leaves the other
ALTERNATIVES = {
    "local_epochs": "local_steps",
    "local_steps": "local_epochs",
    "participation": "clients_per_round",
    "clients_per_round": "participation",
}


def train_config(base: TrainConfig, overrides: Mapping[str, Any], where: str) -> TrainConfig:
    """`[train]` with a method's or warm start's own values; naming one of the budget keys drops the other."""
    values = base.model_dump(exclude_none=True)
    for one, other in ALTERNATIVES.items():
        if one in overrides:
            values.pop(other, None)
    return validate(TrainConfig, {**values, **overrides}, where)
