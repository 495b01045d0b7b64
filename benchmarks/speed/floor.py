"""Where a round's time goes, and what its arithmetic alone would take at the rate of matrix products here."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from workloads import Job

from selffl_cli.config.experiment import load_experiment
from selffl_cli.engine.parallel.collective import Collective
from selffl_cli.planning.plan import Request, plan
from selffl_cli.training.loop import Controls, Training

SHAPES = {  # the products that a step of ten samples is made of, (rows, inner, columns)
    "images": [(5760, 25, 16), (640, 400, 32), (10, 512, 128)],
    "texts": [(10, 100, 400), (10, 400, 100), (250, 50, 400), (250, 100, 400), (400, 250, 100)],
}
LARGE = (768, 768, 768)


@dataclass
class Floor:
    """Of one round, on one core."""

    samples: float
    gflop: float
    large_rate: float  # GFLOP/s of a large product
    own_rates: dict[str, float]  # of the step's own products
    seconds: float  # CPU seconds of the engine in one process
    operators: list[tuple[str, float]]  # the heaviest, with their share of the CPU time

    @property
    def floor(self) -> float:
        """Seconds at the rate of a large product."""
        return self.gflop / self.large_rate


def rate(rows: int, inner: int, columns: int) -> float:
    """GFLOP/s of one product on one core: the best of several timings."""
    a, b, out = torch.randn(rows, inner), torch.randn(inner, columns), torch.empty(rows, columns)
    operations = 2 * rows * inner * columns
    repeats = max(1, int(2e8 / operations))
    best = float("inf")
    for _ in range(7):
        begin = time.process_time()
        for _ in range(repeats):
            torch.mm(a, b, out=out)
        best = min(best, (time.process_time() - begin) / repeats)
    return operations / best / 1e9


def operations(job: Job) -> tuple[float, float]:
    """Samples of a mean round, and the floating-point operations to train on them; of texts only real tokens count.

    Backward is two products for each of forward's, but nothing needs the gradient of the data.
    """
    clients = [job.chosen(round_) for round_ in range(1, 21)]
    samples = sum(int(job.sizes[chosen].sum()) for chosen in clients) / len(clients)
    if job.workload.kind == "images":
        first, rest = 24 * 24 * 16 * 25, 8 * 8 * 32 * 400 + 512 * 128 + 128 * 10
        return samples, samples * 2 * (2 * first + 3 * rest)
    tokens = float((job.tensors["train_x"] != 0).sum(1).double().mean())
    first, rest = 400 * 50, 400 * 100 + 400 * 200
    return samples, samples * 2 * (tokens * (2 * first + 3 * rest) + 3 * (100 * 30 + 30))


def measure(folder: Path) -> Floor:
    """Train two rounds in this process: the second is timed, and another one profiled."""
    job = Job(folder, 0, folder)
    samples, flop = operations(job)
    if job.workload.method == "ditto":
        flop *= 2  # the personal model trains as much
    with tempfile.TemporaryDirectory() as runs:
        experiment = load_experiment(str(folder / "experiment.toml"))
        request = Request(experiment, data=folder / "shards", init=folder / "start.safetensors", runs=Path(runs))
        (run,) = plan(request)
        training = Training(run.config, run.shards, run.folder, run.start_model(), Controls())
        with torch.no_grad():
            _round(training, 1)
            begin = time.process_time()
            _round(training, 2)
            seconds = time.process_time() - begin
            with profile(activities=[ProfilerActivity.CPU]) as profiler:
                _round(training, 3)
    events = profiler.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    heaviest = sorted(events, key=lambda event: -event.self_cpu_time_total)[:8]
    own = {" x ".join(map(str, shape)): rate(*shape) for shape in SHAPES[job.workload.kind]}
    operators = [(event.key, event.self_cpu_time_total / total) for event in heaviest]
    return Floor(samples, flop / 1e9, rate(*LARGE), own, seconds, operators)


def _round(training: Training, round_: int) -> None:
    cohort = training.selected(round_, Collective())
    training.state = training.method.round(training.state, cohort)
