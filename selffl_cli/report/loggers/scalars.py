"""What a logger is told of a run: its name, its settings, and a dictionary of numbers a round."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ...files.regular import open_regular
from ...runs.folder import METRICS, RunFolder
from ...runs.schema import Line, check

CHUNK = 2**24  # bytes of metrics.jsonl that are read at a time
COUNTS = ("clients", "steps", "gradients", "samples", "bytes_up", "bytes_down")


@dataclass(frozen=True)
class Round:
    """The numbers of one round, by name: "test/personal/accuracy", "method/s0", "cost/gradients"."""

    number: int
    time: float  # seconds since 1970, as far as it is known
    values: dict[str, float]


@dataclass(frozen=True)
class About:
    """A run as a logger knows it."""

    path: Path
    experiment: str
    name: str  # of the run folder, which no other run of the experiment has
    label: str
    seed: int
    settings: dict[str, str | int | float | bool]  # the record, its keys joined by dots
    started: float


def about(folder: RunFolder) -> About:
    """SelfflError where the run's record cannot be read."""
    record, environment = folder.record, folder.environment
    try:
        started = datetime.fromisoformat(environment.get("started", "")).timestamp()
    except ValueError:
        started = datetime.now(UTC).timestamp()
    settings = dict(_flat("", record))
    name = folder.path.resolve().name
    return About(folder.path, record["experiment"], name, record["label"], record["seed"], settings, started)


def _flat(before: str, table: Mapping[str, Any]) -> Iterator[tuple[str, str | int | float | bool]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _flat(f"{before}{key}.", value)
        else:
            yield f"{before}{key}", value if isinstance(value, str | int | float | bool) else json.dumps(value)


class Reader:
    """Reads a metrics.jsonl that may be growing; every round is given once.

    A run that was stopped and goes on cuts the file at its checkpoint and writes the same rounds again.
    """

    def __init__(self, path: Path, started: float) -> None:
        self.path, self.started = path / METRICS, started
        self.position, self.last = 0, -1

    def new(self) -> Iterator[Round]:
        """The rounds that were written since the last call. A line that is not whole yet waits for the next one."""
        while lines := self._lines():
            for line in lines:
                try:
                    content = check(Line, json.loads(line))
                except (ValueError, RecursionError):
                    continue  # a damaged line: `selffl report` says so; a logger goes on
                if content["round"] > self.last:
                    self.last = content["round"]
                    seconds = content.get("time", {}).get("seconds") or 0.0
                    yield Round(content["round"], self.started + seconds, dict(numbers(content)))

    def _lines(self) -> list[bytes]:
        try:
            with open_regular(self.path) as file:
                if self.path.stat().st_size < self.position:
                    self.position = 0
                file.seek(self.position)
                data = file.read(CHUNK)
        except OSError:
            return []
        whole = data.rpartition(b"\n")[0]
        self.position += len(whole) + 1 if whole else 0
        return whole.split(b"\n") if whole else []


def numbers(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Every finite number of a line of metrics.jsonl; of what is recorded for each participant, the mean."""
    for part, models in line.get("eval", {}).items():
        for model, figures in models.items():
            yield from _named(f"{part}/{model}", figures)
    yield from _named("train", {"loss": line.get("train_loss")})
    yield from _named("cost", {key: line[key] for key in COUNTS if key in line})
    yield from _named("method", line.get("method", {}))
    yield from _named("time", line.get("time", {}))
    privacy = line.get("privacy")
    yield from _named("privacy", privacy if isinstance(privacy, Mapping) else {})
    for name, values in line.get("per_client", {}).items():
        known = [value for value in values if value is not None]
        if name != "client" and known:
            yield from _named("participants", {f"mean_{name}": sum(known) / len(known)})


def _named(before: str, figures: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in figures.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield f"{before}/{name}", float(value)
