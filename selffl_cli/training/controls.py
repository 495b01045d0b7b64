"""What a person may change of a run without changing its numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from ..engine.auto import Engine
from ..engine.parallel.torchrun import Team
from ..engine.stacked.engine import Seat

Keep = Literal["auto", "global", "personal", "none"]
StoreKind = Literal["memory", "disk"]
Line = dict[str, Any]


class Stopped(Exception):
    """Training was asked to stop; a checkpoint holds the rounds that are done."""


@dataclass
class Controls:
    """What a person may change without changing a number (device and engine: but for the order of sums)."""

    workers: int | None = 1  # processes that share a run; None = as many as are worth it
    device: str = "cpu"
    engine: Engine = "auto"
    keep: Keep = "auto"
    client_store: StoreKind = "memory"
    checkpoint_seconds: float = 30.0
    should_stop: Callable[[], bool] = lambda: False  # asked at the end of each round
    watch: Callable[[Line], None] = lambda line: None  # told each round's metrics
    seat: Seat | None = None  # beside runs of other seeds, whose local trainings are computed as one
    team: Team | None = None  # the ranks that torchrun started, instead of forked workers

    def sent(self) -> dict[str, Any]:
        """What of it goes along with a run to another process or machine, as JSON."""
        names = ("device", "engine", "keep", "client_store", "checkpoint_seconds")
        return {name: getattr(self, name) for name in names}
