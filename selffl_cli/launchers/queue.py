"""Many runs at once: which may start, and which have ended. Where they run is the business of a launcher."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

from ..engine.parallel.workers import available_cores
from ..errors import SelfflError
from ..machine.free_memory import free_memory
from ..planning.plan import PlannedRun
from ..runs.checkpoint import Checkpoints
from ..runs.folder import CHECKPOINT, Busy, RunFolder
from ..training.controls import Controls, Stopped
from .one import Outcome, Stop, training_of

# What a run beside others is taken to need when nobody says how many: it must never be too little.
BASE_MEMORY = 2**30  # bytes: the process, a cohort and its activations
DATA_COPIES = 3  # the shards' pages, their tensors, and as much again


@dataclass
class Ending:
    """How a run in another process ended."""

    status: Literal["finished", "diverged", "stopped", "failed", "busy"]  # busy: another process works on it
    message: str = ""


class Launcher(Protocol):
    """Carries out runs, in this process or in others."""

    waits: bool  # whether a run that another process works on is waited for

    def free(self) -> int:
        """How many more runs could start now."""

    def start(self, run: PlannedRun) -> None: ...

    def ended(self) -> list[tuple[PlannedRun, Ending]]:
        """What ended since the last call; waits a moment (`POLL`) when nothing did."""

    def stop(self) -> None:
        """Ask every run to save and end."""

    def close(self) -> None:
        """End whatever still runs, at once."""


class Display:
    """Who is told of progress; this one tells nobody."""

    def show(self, waiting: Iterable[PlannedRun], running: Iterable[PlannedRun]) -> None:
        """Which runs are left, and which are on their way."""

    def line(self, run: PlannedRun, metrics: dict[str, Any]) -> None:
        """The metrics of a round of a run in this process."""

    def end(self, run: PlannedRun, ending: Ending, skipped: bool) -> None:
        """A run has ended, or was found ended (`skipped`)."""

    def wait(self, busy: Busy) -> None:
        """Nothing is left but what another process works on."""

    def say(self, text: str) -> None:
        """A remark in passing."""


def carry_out(run: PlannedRun, stop: Stop, controls: Controls, beside: int = 1) -> Ending:
    """Train one of `beside` runs at once in this process, which shows nothing."""
    try:
        with stop.listening():
            if stop():
                return Ending("stopped")
            result = training_of(run, replace(controls, should_stop=stop), beside).run()
    except (Stopped, KeyboardInterrupt):
        return Ending("stopped")
    except Busy:
        return Ending("busy")
    except Exception as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        known = type(error).__module__.startswith("selffl_cli")
        return Ending("failed", str(error) if known else f"{type(error).__name__}: {error}")
    return Ending(result["status"], result.get("message", ""))


def found(run: PlannedRun) -> Ending | None:
    """How a run that ended earlier did, None when there is work left; failed when its folder cannot be read."""
    try:
        result = RunFolder(run.folder).result
    except SelfflError as error:
        return Ending("failed", str(error))
    return None if result is None else Ending(result["status"], result.get("message", ""))


class Queue:
    """The runs that are to be done. One that another starts from goes before it, and each only once.

    A run that fails or diverges is recorded and the others go on; one that another process works on waits until that
    has finished it or let go of it.
    """

    def __init__(self, runs: list[PlannedRun], launcher: Launcher, display: Display, stop: Stop) -> None:
        self.launcher, self.display, self.stop = launcher, display, stop
        self.waiting = {run.folder: run for run in runs}
        self.running: dict[Path, PlannedRun] = {}
        self.failed: set[Path] = set()
        self.outcome = Outcome()

    def run(self) -> Outcome:
        """Carry out every run that is not finished.

        When `stop` says so, running ones are asked to save and end; a second signal ends them at once.
        """
        said, stopping = set[Path](), False
        with self.stop.listening():
            try:
                while self.waiting or self.running:
                    asked = self.stop()
                    busy = self._start(begin=not asked)
                    if not (self.waiting or self.running):
                        break
                    if asked and not stopping:
                        stopping = self.outcome.stopped = True
                        self.waiting.clear()
                        self.launcher.stop()
                    if busy and not self.running and busy.path not in said:
                        said.add(busy.path)
                        self.display.wait(busy)
                    self.display.show(self.waiting.values(), self.running.values())
                    for run, ending in self.launcher.ended():
                        self.running.pop(run.folder)
                        if ending.status != "busy":
                            self._end(run, ending)
                        elif not stopping:  # another process was quicker
                            self.waiting[run.folder] = run
            finally:
                self.launcher.close()
        return self.outcome

    def _start(self, begin: bool) -> Busy | None:
        """Note what is done already, and start what can be where any may `begin`; who works on one that cannot."""
        busy: Busy | None = None
        for run in list(self.waiting.values()):
            if (before := found(run)) is not None:
                self._end(self.waiting.pop(run.folder), before, skipped=before.status != "failed")
            elif run.needs and run.needs.folder in self.failed:
                why = f"the run it starts from failed ({run.needs.folder.name})"
                self._end(self.waiting.pop(run.folder), Ending("failed", why))
            elif run.needs and (run.needs.folder in self.waiting or run.needs.folder in self.running):
                continue
            elif begin and self.launcher.free() > 0:
                try:
                    RunFolder(run.folder).check_free()
                except Busy as error:
                    if not self.launcher.waits:
                        raise
                    busy = busy or error
                    continue
                self.running[run.folder] = self.waiting.pop(run.folder)
                self.launcher.start(run)
        return busy

    def _end(self, run: PlannedRun, ending: Ending, skipped: bool = False) -> None:
        if ending.status == "failed":
            self.failed.add(run.folder)
            self.outcome.failed.append((run, ending.message))
        elif ending.status == "stopped":
            self.outcome.stopped = True
        else:
            Checkpoints(run.folder / CHECKPOINT).clear()  # of a run that was killed just after its result
            (self.outcome.done if ending.status == "finished" else self.outcome.diverged).append(RunFolder(run.folder))
        self.display.end(run, ending, skipped)


def choose_jobs(asked: int | None, workers: int | None, runs: list[PlannedRun], device: str) -> int:
    """Runs at once: as asked, else one a core (one in all on a GPU) as far as memory goes, each then with one worker.

    Runs beside each other share nothing and wait for nobody, which beats workers that share a round.
    """
    if asked is not None or not runs:
        return max(1, min(asked or 1, len(runs)))
    if device != "cpu":
        return 1
    data = {run.shards.path: sum(file.stat().st_size for file in run.shards.path.iterdir()) for run in runs}
    fitting = free_memory() / (BASE_MEMORY + DATA_COPIES * max(data.values()))
    return int(max(1, min(available_cores() // (workers or 1), len(runs), fitting)))
