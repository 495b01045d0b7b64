"""Runs that Python code asks for: in this process, one after another, without a display."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.run import WARM_START
from ..errors import SelfflError
from ..machine.devices import default_device
from ..planning.plan import PlannedRun, Request, plan
from ..planning.tuning import tuned
from ..training.controls import Controls
from .in_turn import InTurn
from .one import Stop
from .queue import Display, Queue


class Watch(Display):
    """Tells a function the metrics of each round."""

    def __init__(self, watch: Any) -> None:
        self.watch = watch

    def line(self, run: PlannedRun, metrics: dict[str, Any]) -> None:
        if self.watch is not None:
            self.watch({"label": run.config.label, "seed": run.config.seed, **metrics})


def train_here(request: Request, how: Mapping[str, Any]) -> list[Path]:
    """The folders of a request's runs, each trained as far as it was not; KeyboardInterrupt when asked to stop.

    how: of device, engine, workers, keep and watch those that are given (see `selffl.train`).
    """
    request.experiment = tuned(request.experiment, request.runs, request.methods)
    planned = plan(request)
    controls = Controls(
        workers=how.get("workers", 1),
        device=default_device(how.get("device", "auto")),
        engine=how.get("engine", "auto"),
        keep=how.get("keep", "auto"),
    )
    stop, display = Stop(), Watch(how.get("watch"))
    outcome = Queue(planned, InTurn(controls, stop, display), display, stop).run()
    if outcome.stopped:
        raise KeyboardInterrupt("stopped; everything so far is saved, and the same call goes on")
    if outcome.failed:
        run, why = outcome.failed[0]
        raise SelfflError(f"{run.folder.name} failed: {why}")
    return [run.folder for run in planned if run.config.label != WARM_START]
