"""Many runs at once: which may start, and which have ended. Where they run is the business of a launcher."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from ..engine.parallel.workers import available_cores
from ..errors import SelfflError
from ..machine.free_memory import free_memory
from ..planning.plan import PlannedRun
from ..runs.checkpoint import Checkpoints
from ..runs.folder import CHECKPOINT, Busy, RunFolder
from ..training.controls import Stopped
from .one import Outcome, Stop, train_run

# What a run beside others is taken to need when nobody says how many: it must never be too little.
BASE_MEMORY = 2**30  # bytes: the process, a cohort and its activations
DATA_COPIES = 3  # the shards' pages, their tensors, and as much again


@dataclass
class Ending:
    """How a run in another process ended."""

    status: Literal["finished", "diverged", "stopped", "failed", "busy"]  # busy: another process works on it
    message: str = ""


class Launcher(Protocol):
    """Carries out runs in other processes."""

    def free(self) -> int:
        """How many more runs could start now."""

    def start(self, run: PlannedRun) -> None: ...

    def ended(self) -> list[tuple[PlannedRun, Ending]]:
        """What ended since the last call; waits a moment (`POLL`) when nothing did."""

    def stop(self) -> None:
        """Ask every run to save and end."""

    def close(self) -> None:
        """End whatever still runs, at once."""


class Board(Protocol):
    """Who is told of progress."""

    def show(self, waiting: Iterable[PlannedRun], running: Iterable[PlannedRun]) -> None: ...

    def end(self, run: PlannedRun, ending: Ending, skipped: bool) -> None: ...

    def wait(self, busy: Busy) -> None: ...


def carry_out(run: PlannedRun, stop: Stop, settings: dict[str, Any]) -> Ending:
    """Train one run in this process, which shows nothing; `settings` are those of `launch.train_run`."""
    try:
        with stop.listening():
            if stop():
                return Ending("stopped")
            result = train_run(run, stop, lambda line: None, **settings)
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


def run_all(runs: list[PlannedRun], launcher: Launcher, board: Board, stop: Stop) -> Outcome:
    """Carry out every run that is not finished; one that another starts from goes before it, and only once.

    A run that fails or diverges is recorded and the others go on; one that another process works on waits until that
    has finished it or let go of it. When `stop` says so, running ones are asked to save and end; a second signal ends
    them at once.
    """
    outcome, waiting, running = Outcome(), {run.folder: run for run in runs}, dict[Path, PlannedRun]()
    failed, said, stopping = dict[Path, str](), set[Path](), False

    def end(run: PlannedRun, ending: Ending, skipped: bool = False) -> None:
        if ending.status == "failed":
            failed[run.folder] = ending.message
            outcome.failed.append((run, ending.message))
        elif ending.status == "stopped":
            outcome.stopped = True
        else:
            Checkpoints(run.folder / CHECKPOINT).clear()  # of a run that was killed just after its result
            (outcome.done if ending.status == "finished" else outcome.diverged).append(RunFolder(run.folder))
        board.end(run, ending, skipped)

    with stop.listening():
        try:
            while waiting or running:
                if stop() and not stopping:
                    stopping = outcome.stopped = True
                    waiting.clear()
                    launcher.stop()
                busy: Busy | None = None
                for run in list(waiting.values()):
                    if (before := found(run)) is not None:
                        end(waiting.pop(run.folder), before, skipped=before.status != "failed")
                    elif run.needs and run.needs.folder in failed:
                        why = f"the run it starts from failed ({run.needs.folder.name})"
                        end(waiting.pop(run.folder), Ending("failed", why))
                    elif run.needs and (run.needs.folder in waiting or run.needs.folder in running):
                        continue
                    elif launcher.free() > 0:
                        try:
                            RunFolder(run.folder).check_free()
                        except Busy as error:
                            busy = busy or error
                            continue
                        running[run.folder] = waiting.pop(run.folder)
                        launcher.start(run)
                if busy and not running and busy.path not in said:
                    said.add(busy.path)
                    board.wait(busy)
                board.show(waiting.values(), running.values())
                for run, ending in launcher.ended():
                    running.pop(run.folder)
                    if ending.status != "busy":
                        end(run, ending)
                    elif not stopping:  # another process was quicker
                        waiting[run.folder] = run
        finally:
            launcher.close()
    return outcome


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
