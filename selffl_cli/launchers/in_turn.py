"""Carry out planned runs one after another: skip what is finished, resume what is broken, stop when asked.

A run that another process works on comes last; nobody waits while there is something else to do.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from ..engine.parallel.torchrun import Team
from ..planning.plan import PlannedRun
from ..runs.checkpoint import Checkpoints
from ..runs.folder import CHECKPOINT, Busy, RunFolder
from ..training.controls import Stopped
from .one import POLL, Outcome, Stop, train_run


class Display(Protocol):
    """Who is told of progress."""

    def start(self, run: PlannedRun, number: int, total: int) -> None: ...

    def line(self, run: PlannedRun, metrics: dict[str, Any]) -> None: ...

    def end(self, run: PlannedRun, result: dict[str, Any], skipped: bool) -> None: ...

    def wait(self, busy: Busy) -> None: ...


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
