"""One planned run, carried out in this process."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from types import FrameType

from ..planning.cost import choose_workers
from ..planning.plan import PlannedRun
from ..runs.folder import RunFolder
from ..training.controls import Controls
from ..training.loop import Training

POLL = 0.2  # seconds between looks at the runs of others


STOPPING = "stopping at the end of this round; once more to stop at once, at the last checkpoint"


def _is_terminal(stream: int) -> bool:
    try:
        return os.isatty(stream)
    except OSError:
        return False


def _mute(streams: list[int]) -> None:
    """Send what is still printed nowhere: writing to a terminal that is gone would end the run before it is saved."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream)
    os.close(nowhere)


@dataclass
class Stop:
    """Why training should stop at the end of the round."""

    deadline: float | None = None  # time.monotonic()
    signal: int = 0
    pid: int = field(default_factory=os.getpid)  # the process that speaks to the person
    tell: Callable[[str], object] = field(default=lambda text: os.write(2, f"{text}\n".encode()))  # and by what

    def __call__(self) -> bool:
        return bool(self.signal) or (self.deadline is not None and time.monotonic() > self.deadline)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """SIGINT, SIGTERM and SIGHUP (a terminal that closes) ask to stop; a second one stops at once.

        Signals are the main thread's. Who ignores SIGHUP, as nohup does, goes on ignoring it.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def note(number: int, frame: FrameType | None) -> None:
            if self.signal:
                raise KeyboardInterrupt
            self.signal = number
            if os.getpid() == self.pid:
                if number == signal.SIGHUP:
                    _mute(terminals)
                self.tell(STOPPING)

        terminals = [stream for stream in (1, 2) if _is_terminal(stream)]
        asked = [signal.SIGINT, signal.SIGTERM]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            asked.append(signal.SIGHUP)
        before = {number: signal.signal(number, note) for number in asked}
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


def training_of(run: PlannedRun, controls: Controls, beside: int = 1) -> Training:
    """The training of a planned run, with as many workers as are worth it for one of `beside` runs at once."""
    training = Training(run.config, run.shards, run.folder, run.start_model(), replace(controls))
    team = controls.team
    training.controls.workers = team.collective.world if team else choose_workers(controls.workers, training, beside)
    return training
