"""Continual learning: data that comes in over periods, and the memory of past samples that each client replays.

After "Coordinated Replay Sample Selection for Continual Federated Learning" (EMNLP 2023, industry track). Memories are
named by a spec, `coordinated:iterations=1`.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from .spec import full_spec, read_spec
from .validation import Strict

VERSION = 1  # raised when the same options would keep other samples


class Memory(Strict):
    """Which samples a client keeps at the end of a period, out of the period's new ones and its memory."""


class Nothing(Memory):
    """Nothing is kept: what forgetting costs."""


class Everything(Memory):
    """All samples are kept: what memory can give at most."""


class Naive(Memory):
    """N at random out of new samples and memory alike, so that early periods fade."""


class ApproxUniform(Memory):
    """N at random, a sample of the memory weighing as many as it stands for: about uniform over all seen so far."""


class Balanced(Memory):
    """Half of N at random from the memory, half from the new samples."""


class Uncoordinated(Memory):
    """The N samples whose last-layer gradients nearly cancel: each client for itself."""

    gradients: Literal["unit", "raw"] = Field("unit", description="gradients scaled to unit length, or as they are")


class Coordinated(Uncoordinated):
    """As uncoordinated, then towards cancelling over all clients, in exchanges of one aggregated vector a client."""

    iterations: int = Field(1, ge=1, le=100)


MEMORIES: dict[str, type[Memory]] = {
    "none": Nothing, "all": Everything, "naive": Naive, "approx-uniform": ApproxUniform, "balanced": Balanced,
    "uncoordinated": Uncoordinated, "coordinated": Coordinated,
}  # fmt: skip


def memory(spec: str) -> Memory:
    """Read `coordinated:iterations=4`; a UsageError names what is wrong."""
    return read_spec(spec, MEMORIES, "memory")[1]


def canonical(spec: str) -> str:
    """The spec with every default written out."""
    return full_spec(*read_spec(spec, MEMORIES, "memory"))


def sized(spec: str) -> bool:
    """Whether a memory has a size: `none` and `all` have not."""
    return not isinstance(memory(spec), Nothing | Everything)


def consistent(periods: bool, spec: str, size: int | None) -> None:
    """ValueError for a memory without periods, or without its size."""
    if not periods and (spec != "none" or size is not None):
        raise ValueError("a memory is kept from period to period; add --set train.periods=true")
    if sized(spec) and size is None:
        raise ValueError(f"memory '{spec}' needs its size; add --set train.memory_size=50")
