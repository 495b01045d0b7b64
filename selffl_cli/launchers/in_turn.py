"""Runs in this process, one after another."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial

from ..planning.cost import memory_hint
from ..planning.plan import PlannedRun
from ..runs.folder import Busy
from ..training.controls import Controls, Stopped
from .one import POLL, Stop, training_of
from .queue import Display, Ending


class InTurn:
    """One run at a time, each round of which is shown; an error of one ends the queue.

    Under torchrun nobody waits for a run that another process works on: the other ranks would wait with rank 0.
    """

    def __init__(self, controls: Controls, stop: Stop, display: Display) -> None:
        self.controls, self.stop_, self.display = controls, stop, display
        self.waits = controls.team is None
        self.run: PlannedRun | None = None

    def free(self) -> int:
        return int(self.run is None)

    def start(self, run: PlannedRun) -> None:
        self.run = run

    def ended(self) -> list[tuple[PlannedRun, Ending]]:
        """Train the run that was started."""
        run, self.run = self.run, None
        if run is None:
            time.sleep(POLL)
            return []
        watch = partial(self.display.line, run)
        try:
            training = training_of(run, replace(self.controls, should_stop=self.stop_, watch=watch))
            if hint := memory_hint(training):
                self.display.say(hint)
            result = training.run()
        except Stopped:
            return [(run, Ending("stopped"))]
        except Busy:
            if not self.waits:
                raise
            return [(run, Ending("busy"))]
        return [(run, Ending(result["status"], result.get("message", "")))]

    def stop(self) -> None:
        """Nothing to pass on: a run asks `stop` itself."""

    def close(self) -> None:
        """Nothing runs beside this process."""
