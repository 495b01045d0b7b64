"""What a run will cost before it starts: steps, bytes, memory, time."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from ..engine.evaluation import sample_scores
from ..engine.parallel.workers import available_cores
from ..errors import UsageError
from ..machine.free_memory import free_memory
from ..training.federation import Federation

# Below this much work a round, exchanges between workers cost more than they save (measured on the digits:
# 11 ms a round alone, 18 ms with two workers).
WORTH_SHARING = 0.1  # seconds
STEPS, LONGEST = 3, 0.5  # steps that are timed; fewer when they take longer than so many seconds
SAMPLES = 32  # that are scored to time an evaluation
PROCESS_MEMORY = 0.2 * 2**30  # bytes a forked process takes of its own, at the least (measured on the digits: 0.1)


@dataclass
class Cost:
    """Expected cost of one run at FedAvg's budget; methods with several gradients a step take that many times more."""

    clients: int
    cohort: int
    parameters: int
    steps: int  # local steps over all rounds and clients
    bytes_sent: int  # up and down
    memory: int  # bytes: data, client rows, one cohort
    step_seconds: float
    round_seconds: float  # training alone, one worker
    eval_seconds: float  # one evaluation of everything, one worker
    rounds: int
    evaluations: int

    def seconds(self, workers: int) -> float:
        return (self.rounds * self.round_seconds + self.evaluations * self.eval_seconds) / workers


@dataclass
class Timings:
    """Seconds of a step and of a scored sample, measured once for all runs in which they must be alike: those of one
    model on samples of one shape, in batches of one size."""

    known: dict[str, tuple[float, float]] = field(default_factory=dict)

    def of(self, federation: Federation) -> tuple[float, float]:
        """Time a few steps of a middling client of this run, and the scores of a batch, unless they are known."""
        config, data = federation.config, federation.stream.at(1)[0]
        middle = len(federation.pool) // 2
        client = int(federation.pool[np.argpartition(federation.pool_sizes, middle)[middle]])
        batch = min(federation.batch_size or 10**9, int(data.sizes[client]))
        alike = (
            config.model, str(data.x.dtype), list(data.x.shape[1:]), federation.model.size, batch, config.train.dtype,
            config.train.precision, str(federation.model.device),
        )  # fmt: skip
        key = json.dumps(alike, sort_keys=True)
        if key not in self.known:
            self.known[key] = _measure(federation, *data.client(client, np.arange(batch)))
        return self.known[key]


def _measure(federation: Federation, x: Tensor, y: Tensor) -> tuple[float, float]:
    model, vector = federation.model, federation.model.start
    torch.set_num_threads(1)
    begun = time.perf_counter()
    model.gradient(vector, x, y)
    step = time.perf_counter() - begun
    if step < LONGEST:  # what the first one costs beside the step counts little in a longer one
        begun, times = time.perf_counter(), 0
        while times < STEPS and (times == 0 or time.perf_counter() - begun < LONGEST):
            model.gradient(vector, x, y)
            times += 1
        step = (time.perf_counter() - begun) / times
    most = next(iter(federation.parts.values()))
    x, y = most.x[:SAMPLES], most.y[:SAMPLES]
    begun = time.perf_counter()
    sample_scores(model, vector, x, y)
    return step, (time.perf_counter() - begun) / max(len(y), 1)


def predict(federation: Federation, timings: Timings | None = None) -> Cost:
    """Time a few steps and forward passes of a middling client, where `timings` do not know them, and multiply."""
    train, model = federation.config.train, federation.model
    step, scores = (timings or Timings()).of(federation)

    cohort = train.cohort_size(federation.shards.num_clients)
    steps = float(federation.stream.at(1)[1].mean()) * cohort  # of the first period; a memory adds to later ones
    samples = sum(len(part.y) for part in federation.scored.values())
    down, up = federation.method.traffic(model.size, model.head_size)
    item = model.vector.element_size()
    tables = touched_bytes(federation) if federation.controls.client_store == "memory" else 0
    held = sum(part.x.numel() * part.x.element_size() for part in federation.parts.values())
    return Cost(
        clients=federation.shards.num_clients, cohort=cohort, parameters=model.size,
        steps=round(steps * federation.rounds), bytes_sent=(down + up) * item * cohort * federation.rounds,
        memory=held + tables + 3 * cohort * model.size * item,
        step_seconds=step, round_seconds=step * steps / federation.engine.ratio, eval_seconds=2 * scores * samples,
        rounds=federation.rounds, evaluations=sum(map(federation.stream.evaluates, range(federation.rounds + 1))),
    )  # fmt: skip


def touched_bytes(federation: Federation) -> int:
    """Client rows that the rounds of a run can write at most."""
    train, clients = federation.config.train, len(federation.pool)
    return min(clients, train.rounds * train.cohort_size(clients)) * federation.store.row_bytes


def memory_hint(federation: Federation) -> str | None:
    """What to say of a run whose client rows may take more than half of the free memory."""
    needed, free = touched_bytes(federation), free_memory()
    if federation.controls.client_store == "disk" or needed < free / 2:
        return None
    return (
        f"client rows may come to {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB of memory are free; "
        "--client-store disk keeps them in the run folder"
    )


def choose_workers(asked: int | None, federation: Federation, jobs: int = 1, timings: Timings | None = None) -> int:
    """Workers for one of `jobs` runs at once: as asked, else one for each of its cores when a round is long enough."""
    cohort = federation.config.train.cohort_size(federation.shards.num_clients)
    if federation.controls.device != "cpu":
        if asked is not None and asked > 1:
            raise UsageError(f"--workers {asked}: processes share a run on the CPU only; a GPU takes one")
        return 1
    if asked is not None:
        return min(asked, cohort)
    cores = available_cores() // jobs
    if cores <= 1:
        return 1
    return min(cores, cohort) if predict(federation, timings).round_seconds > WORTH_SHARING else 1


def too_many(asked_jobs: int | None, asked_workers: int | None, jobs: int) -> str | None:
    """What to say when more processes were asked for than this machine has cores or memory for."""
    cores, asked = available_cores(), jobs * (asked_workers or 1)
    fitting = max(1, int(free_memory() // PROCESS_MEMORY)) if free_memory() < math.inf else asked
    better = min(cores, fitting)
    if asked <= better or not (asked_jobs or asked_workers):
        return None
    option, number = ("--jobs", max(1, better // (asked_workers or 1))) if jobs > 1 else ("--workers", better)
    what = f"{cores} cores" if cores <= fitting else f"{free_memory() / 2**30:.1f} GiB of free memory"
    return f"{asked} processes on {what} are slower than fewer; {option} {number} is better here"
