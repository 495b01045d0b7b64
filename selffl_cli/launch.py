"""Carry out planned runs one after another: skip what is finished, resume what is broken, stop when asked.

A run that another process works on comes last; nobody waits while there is something else to do.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from .controls import Controls, Keep, Place, Stopped
from .engine.choice import Engine
from .engine.stacked import Seat
from .engine.team import Team
from .plan import PlannedRun
from .runs import CHECKPOINT, Busy, RunFolder
from .runs.checkpoint import Checkpoints
from .training import Training

POLL = 0.2  # seconds between looks at the runs of others


class Display(Protocol):
    """Who is told of progress."""

    def start(self, run: PlannedRun, number: int, total: int) -> None: ...

    def line(self, run: PlannedRun, metrics: dict[str, Any]) -> None: ...

    def end(self, run: PlannedRun, result: dict[str, Any], skipped: bool) -> None: ...

    def wait(self, busy: Busy) -> None: ...


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
        """SIGINT and SIGTERM ask to stop; a second one stops at once. Signals are the main thread's."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

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


def train_run(
    run: PlannedRun,
    stop: Stop,
    watch: Callable[[dict[str, Any]], None],
    *,
    workers: Callable[[Training], int],
    device: str,
    engine: Engine = "auto",
    keep: Keep,
    client_store: Place = "memory",
    checkpoint_seconds: float,
    seat: Seat | None = None,
    team: Team | None = None,
) -> dict[str, Any]:
    """The result of a run, trained as far as it is not; Stopped when asked to stop, Busy when others work on it."""
    controls = Controls(
        device=device, engine=engine, keep=keep, client_store=client_store,
        checkpoint_seconds=checkpoint_seconds, should_stop=stop, watch=watch, seat=seat, team=team,
    )  # fmt: skip
    training = Training(run.config, run.shards, run.folder, run.start_model(), controls)
    controls.workers = team.collective.world if team else workers(training)
    return training.run()


def execute(
    runs: list[PlannedRun], display: Display, stop: Stop, *, team: Team | None = None, **settings: Any
) -> Outcome:
    """Train every run that is not finished; `settings` are those of `train_run`. A diverged run is recorded and the
    others go on. One that another process works on is found finished at the end, or resumed when that process let go
    of it; under torchrun it is an error, since the other ranks would wait with rank 0.
    """
    outcome, left, said = Outcome(), list(enumerate(runs, 1)), set[Path]()
    with stop.listening():
        while left:
            busy: dict[Path, Busy] = {}
            for number, run in left:
                folder = RunFolder(run.folder)
                result = folder.result
                skipped = result is not None
                try:
                    if result is None:
                        if stop():
                            raise Stopped
                        if run.needs and run.needs.folder in busy:
                            raise busy[run.needs.folder]
                        folder.check_free()  # before the data are read
                    display.start(run, number, len(runs))
                    if result is None:
                        result = train_run(run, stop, partial(display.line, run), team=team, **settings)
                except Busy as error:
                    if team:
                        raise
                    busy[run.folder] = error
                    continue
                except Stopped:
                    outcome.stopped = True
                    return outcome
                if skipped:
                    Checkpoints(run.folder / CHECKPOINT).clear()  # of a run that was killed just after its result
                display.end(run, result, skipped)
                (outcome.done if result["status"] == "finished" else outcome.diverged).append(folder)
            if len(busy) == len(left):  # nothing else is left to do
                first = next(iter(busy.values()))
                if first.path not in said:
                    said.add(first.path)
                    display.wait(first)
                time.sleep(POLL)
            left = [(number, run) for number, run in left if run.folder in busy]
    return outcome
