"""Carry out planned runs one after another: skip what is finished, resume what is broken, stop when asked."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from types import FrameType
from typing import Any, Protocol

from .controls import Controls, Keep, Place, Stopped
from .engine.choice import Engine
from .engine.team import Team
from .plan import PlannedRun
from .runs import CHECKPOINT, RunFolder
from .runs.checkpoint import Checkpoints
from .training import Training


class Display(Protocol):
    """Who is told of progress."""

    def start(self, run: PlannedRun, number: int, total: int) -> None: ...

    def line(self, run: PlannedRun, metrics: dict[str, Any]) -> None: ...

    def end(self, run: PlannedRun, result: dict[str, Any], skipped: bool) -> None: ...


@dataclass
class Stop:
    """Why training should stop at the end of the round."""

    deadline: float | None = None  # time.monotonic()
    signal: int = 0
    pid: int = field(default_factory=os.getpid)  # the process that speaks to the person

    def __call__(self) -> bool:
        return bool(self.signal) or (self.deadline is not None and time.monotonic() > self.deadline)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """SIGINT and SIGTERM ask to stop; a second one stops at once."""

        def note(number: int, frame: FrameType | None) -> None:
            if self.signal:
                raise KeyboardInterrupt
            self.signal = number
            if os.getpid() == self.pid:
                os.write(2, b"stopping at the end of this round; once more to stop at once, at the last checkpoint\n")

        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


@dataclass
class Outcome:
    """What became of the runs."""

    done: list[RunFolder] = field(default_factory=list)
    diverged: list[RunFolder] = field(default_factory=list)
    failed: list[tuple[PlannedRun, str]] = field(default_factory=list)  # and why
    stopped: bool = False


def execute(
    runs: list[PlannedRun],
    display: Display,
    stop: Stop,
    *,
    workers: Callable[[Training], int],
    device: str,
    engine: Engine = "auto",
    keep: Keep,
    client_store: Place = "memory",
    checkpoint_seconds: float,
    team: Team | None = None,
) -> Outcome:
    """Train every run that is not finished. A diverged run is recorded and the others go on."""
    outcome = Outcome()
    with stop.listening():
        for number, run in enumerate(runs, 1):
            folder = RunFolder(run.folder)
            result = folder.result
            display.start(run, number, len(runs))
            skipped = result is not None
            if result is None:
                if stop():
                    outcome.stopped = True
                    break
                controls = Controls(
                    device=device, engine=engine, keep=keep, client_store=client_store,
                    checkpoint_seconds=checkpoint_seconds, should_stop=stop, watch=partial(display.line, run),
                    team=team,
                )  # fmt: skip
                training = Training(run.config, run.shards, run.folder, run.start_model(), controls)
                controls.workers = team.collective.world if team else workers(training)
                try:
                    result = training.run()
                except Stopped:
                    outcome.stopped = True
                    break
            if skipped:
                Checkpoints(run.folder / CHECKPOINT).clear()  # of a run that was killed just after its result
            display.end(run, result, skipped)
            (outcome.done if result["status"] == "finished" else outcome.diverged).append(folder)
    return outcome
