"""Runs of several seeds side by side in this process, their clients stacked in one computation."""

from __future__ import annotations

import queue
import threading
from dataclasses import replace

from ..engine.stacked.joint_seeds import SharedSeat, Together
from ..planning.plan import PlannedRun
from ..training.controls import Controls
from .one import POLL, Stop
from .queue import Ending, carry_out


class StackedSeeds:
    """Runs in threads of this process, one of which moves at a time."""

    waits = True

    def __init__(self, most: int, stop: Stop, controls: Controls) -> None:
        self.most, self.stop_, self.controls = most, stop, replace(controls, workers=1, engine="stacked")
        self.together = Together()
        self.starting: list[PlannedRun] = []
        self.running = 0
        self.endings: queue.Queue[tuple[PlannedRun, Ending]] = queue.Queue()

    def free(self) -> int:
        """A place for as many as go together, once those before have ended."""
        return 0 if self.running else self.most - len(self.starting)

    def start(self, run: PlannedRun) -> None:
        self.starting.append(run)  # together, so that none trains a round alone

    def ended(self) -> list[tuple[PlannedRun, Ending]]:
        places = [(run, self.together.place()) for run in self.starting]
        self.running += len(places)
        self.starting.clear()

        def work(run: PlannedRun, place: SharedSeat) -> None:
            place.enter()
            try:
                ending = carry_out(run, self.stop_, replace(self.controls, seat=place))
            finally:
                place.leave()
            self.endings.put((run, ending))

        for pair in places:
            threading.Thread(target=work, args=pair, daemon=True).start()
        found = []
        try:
            found.append(self.endings.get(timeout=POLL))
            while True:
                found.append(self.endings.get_nowait())
        except queue.Empty:
            self.running -= len(found)
            return found

    def stop(self) -> None:
        """Nothing to pass on: the runs ask `stop` themselves."""

    def close(self) -> None:
        """Threads that still run end with the process."""


def by_method(runs: list[PlannedRun]) -> list[PlannedRun]:
    """Runs in an order in which the seeds of a method stand together, warm starts first."""
    kinds: dict[tuple[bool, str, str], list[PlannedRun]] = {}
    for run in runs:
        kinds.setdefault((run.needs is not None, str(run.config.setting), run.config.label), []).append(run)
    return [run for kind in sorted(kinds, key=lambda kind: kind[0]) for run in kinds[kind]]
