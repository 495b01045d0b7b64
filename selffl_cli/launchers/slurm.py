"""Runs as jobs of SLURM, by submitit, on a cluster whose nodes share the folders of data and runs."""

from __future__ import annotations

import json
import re
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..planning.plan import PlannedRun
from ..training.controls import Controls
from .elsewhere import described, train_described
from .one import POLL
from .queue import Ending, found

RETRIES = 3  # times that a job which vanished is handed in again; its run resumes from the checkpoint
AT_ONCE = 200  # jobs in the queue of SLURM, when nobody says how many
LOOK = 20.0  # seconds between two questions to SLURM; a job that ends as it should is seen at once by its file
LOGS = ".slurm"  # the folder of job files and output, beside the experiments' runs
MINUTES = 24 * 60  # of a job, when nobody says how many
TIMEOUTS = 100  # times that a job may run out of time and go on in a new one
RESERVED = ("output", "error", "open-mode", "signal", "requeue", "nodes", "ntasks")  # set here


class Task:
    """What a job does. A job that must leave its node (SIGUSR2, before its time is up) goes back into the queue."""

    def __call__(self, job: str) -> str:
        return train_described(job)

    def checkpoint(self, job: str) -> Any:
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, job)


@dataclass
class Submitted:
    """A run with the job that carries it out."""

    run: PlannedRun
    job: Any
    tries: int = 1
    missed: bool = False  # SLURM said at the last look that the job has ended, and it had left no word


def read_parameters(texts: list[str]) -> dict[str, str]:
    """`["partition=gpu", "time=60"]`: options of sbatch by their long names; UsageError for what is none."""
    parameters = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not re.fullmatch(r"[a-z][a-z-]*", name) or not equals or not value or not value.isprintable():
            raise UsageError(
                f"--slurm '{text}': write an option of sbatch as name=value, such as partition=gpu or time=60"
            )
        if name in RESERVED:
            raise UsageError(f"--slurm '{text}': selffl itself sets {name}; leave it out")
        if name == "time" and not value.isdecimal():
            raise UsageError(f"--slurm '{text}': give the time of a job in whole minutes")
        parameters[name] = value
    return parameters


class SlurmJobs:
    """One job a run, of one core unless the parameters say otherwise."""

    waits = True

    def __init__(self, runs: Path, parameters: dict[str, str], jobs: int | None, controls: Controls) -> None:
        try:
            from submitit import SlurmExecutor
        except ImportError:
            raise UsageError("--launcher slurm: submitit is not installed; pip install 'selffl[slurm]'") from None
        if shutil.which("srun") is None or shutil.which("sbatch") is None:
            raise UsageError("--launcher slurm: there is no sbatch here; type this on a node that can hand in jobs")
        self.executor = SlurmExecutor(runs.resolve() / LOGS, max_num_timeout=TIMEOUTS)
        gpus = any(name.startswith(("gpus", "gres")) for name in parameters)
        asked = {"cpus-per-task": "1", **parameters}
        minutes = int(asked.pop("time", MINUTES))
        self.executor.update_parameters(job_name="selffl", time=minutes, additional_parameters=asked)
        self.controls = replace(controls, device="cuda" if gpus else "cpu")
        self.jobs, self.looked, self.stopping = jobs or AT_ONCE, time.monotonic(), False
        self.running: dict[Path, Submitted] = {}

    def free(self) -> int:
        return self.jobs - len(self.running)

    def start(self, run: PlannedRun) -> None:
        self.running[run.folder] = Submitted(run, self._submit(run))

    def _submit(self, run: PlannedRun) -> Any:
        return self.executor.submit(Task(), described(run, self.controls))

    def ended(self) -> list[tuple[PlannedRun, Ending]]:
        looking = bool(self.running) and time.monotonic() - self.looked > LOOK
        if looking:
            self.looked = time.monotonic()
            next(iter(self.running.values())).job.watcher.update()  # one question for all jobs
        endings = []
        for one in list(self.running.values()):
            ending = self._ending(one, looking)
            if ending is not None:
                del self.running[one.run.folder]
                endings.append((one.run, ending))
        if not endings:
            time.sleep(POLL)
        return endings

    def _ending(self, one: Submitted, looking: bool) -> Ending | None:
        """How the run ended, None while its job is waiting or at work."""
        if one.job.paths.result_pickle.exists():
            return self._said(one)
        if not looking or not one.job.watcher.is_done(one.job.job_id, mode="cache"):
            return None
        if not one.missed:  # what it says of its end may still be on its way, over the network
            one.missed = True
            return None
        return self._vanished(one)

    def _said(self, one: Submitted) -> Ending:
        """What the job itself says of its end."""
        try:
            return Ending(**json.loads(one.job.result()))
        except Exception as error:
            why = str(error).strip().splitlines()
            return Ending("failed", f"job {one.job.job_id}: {why[-1] if why else type(error).__name__}")

    def _vanished(self, one: Submitted) -> Ending | None:
        """A job that was killed: its run is done already, or is handed in again."""
        if (before := found(one.run)) is not None:
            return before
        state = one.job.watcher.get_state(one.job.job_id, mode="cache")
        if self.stopping or state.startswith("CANCELLED"):
            return Ending("stopped")
        if one.tries > RETRIES:
            why = f"job {one.job.job_id} ended as {state}, as {RETRIES} jobs before it did; see {one.job.paths.stderr}"
            return Ending("failed", why)
        one.job, one.tries, one.missed = self._submit(one.run), one.tries + 1, False
        return None

    def stop(self) -> None:
        self.stopping = True
        for one in self.running.values():
            one.job.cancel(check=False)  # arrives as SIGTERM: the run saves and ends

    def close(self) -> None:
        self.stop()
