"""Runs beside each other in forked processes of this machine."""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import sys
import warnings
from contextlib import suppress

from ..engine.parallel.workers import die_with_parent
from ..planning.plan import PlannedRun
from ..training.controls import Controls
from .one import POLL, Stop
from .queue import Ending, carry_out


class LocalJobs:
    """Runs in forked processes of this machine, which share the data that the parent has opened."""

    waits = True

    def __init__(self, jobs: int, stop: Stop, controls: Controls) -> None:
        for late in ("pyarrow.parquet", "pandas"):  # once here, not in every run (0.4 s on the digits)
            with suppress(ImportError):  # pyarrow looks for pandas, and does without
                importlib.import_module(late)
        self.jobs, self.stop_, self.controls = jobs, stop, controls
        self.running: dict[int, tuple[int, PlannedRun]] = {}  # by the pipe on which the ending comes

    def free(self) -> int:
        return self.jobs - len(self.running)

    def start(self, run: PlannedRun) -> None:
        reader, writer = os.pipe()
        parent = os.getpid()
        sys.stdout.flush()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # forking beside library threads, which are idle
            process = os.fork()
        if process == 0:
            try:
                die_with_parent(parent)
                os.setpgid(0, 0)  # Ctrl-C reaches the parent alone, which passes it on
                os.write(writer, json.dumps(vars(carry_out(run, self.stop_, self.controls, self.jobs))).encode())
            finally:
                os._exit(0)
        os.close(writer)
        self.running[reader] = (process, run)

    def ended(self) -> list[tuple[PlannedRun, Ending]]:
        endings = []
        for reader in select.select(list(self.running), [], [], POLL)[0]:
            process, run = self.running.pop(reader)
            with os.fdopen(reader, "rb") as pipe:
                said = pipe.read()
            code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
            ending = Ending(**json.loads(said)) if said else Ending("failed", f"its process died ({how})")
            endings.append((run, ending))
        return endings

    def stop(self) -> None:
        for process, _ in self.running.values():
            os.kill(process, signal.SIGINT)

    def close(self) -> None:
        for process, _ in self.running.values():
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
        self.running.clear()
