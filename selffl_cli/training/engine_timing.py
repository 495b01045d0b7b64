"""How fast both engines are in whole rounds, model by model: what `choice.py` goes by.

A round of FedAvg (batches drawn, local training, mean, rows kept) of 20 clients with 30 to 90 samples in batches of
ten, on made-up data from a seed; engines take turns, and the median of CPU seconds counts (of wall time on a GPU).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..engine.cohort import RoundConfig
from ..engine.flat import DevicePart, FlatModel
from ..engine.parallel.collective import Collective
from ..engine.sequential import SequentialCohort
from ..engine.stacked.engine import StackedCohort, stacked_engine
from ..engine.store import ClientStore
from ..methods import build, resolve
from ..models.bilstm import BiLSTM
from ..models.cnn import CNN
from ..models.cnn11 import CNN11
from ..models.cnn_cifar import CifarCNN
from ..models.location import Location
from ..models.lstm import StackedLSTM
from ..models.mlp import MLP
from ..models.next_word import NextWord
from ..models.softmax import Softmax
from ..models.task import TASKS
from ..shards import Part

CLIENTS, REPEATS = 20, 3


@dataclass(frozen=True)
class Case:
    """A network and samples for it: {x, y} for n samples."""

    model: str
    make: Callable[[], nn.Module]
    draw: Callable[[int], Tensor]
    task: str = "classification"
    clients: int = CLIENTS


def floats(*shape: int) -> Callable[[int], Tensor]:
    return lambda n: torch.rand(n, *shape)


def words(n: int) -> Tensor:
    """Texts of 5 to 25 of 1,000 words."""
    x = torch.randint(1, 1000, (n, 25))
    return torch.where(torch.arange(25) < torch.randint(5, 26, (n, 1)), x, 0)


def tagged(n: int) -> Tensor:
    """Such texts with one of 20 tags for each word."""
    x = words(n)
    return torch.stack([x, torch.where(x > 0, torch.randint(0, 20, x.shape), 0)], 1)


# several sizes where the size decides; the others as the experiments have them
CASES = (
    Case("softmax", lambda: Softmax(64, 10), floats(64)),
    Case("softmax", lambda: Softmax(784, 10), floats(784)),
    Case("mlp", lambda: MLP(64, [64], 10), floats(64)),
    Case("mlp", lambda: MLP(784, [32], 10), floats(784)),
    Case("mlp", lambda: MLP(784, [64], 10), floats(784)),
    Case("mlp", lambda: MLP(784, [200], 10), floats(784)),
    Case("location", lambda: Location(10), floats(10), "gaussian"),
    Case("cnn", lambda: CNN((1, 28, 28), [16, 32], 128, 10), floats(1, 28, 28)),
    Case("cnn-cifar", lambda: CifarCNN((3, 32, 32), [32, 64, 128], 128, 10), floats(3, 32, 32)),
    Case("lstm", lambda: StackedLSTM(torch.randn(1000, 50)), words),
    Case("next-word", lambda: NextWord(1000), words, "language-model"),
    Case("bilstm", lambda: BiLSTM(1000, 20), tagged, "tagging"),
    Case("cnn11", lambda: CNN11(76, 64, 2), floats(76, 64), clients=2),
)


class Bench:
    """One case on a device, ready to run rounds on either engine."""

    def __init__(self, case: Case, device: torch.device, seed: int = 0) -> None:
        sizes = np.random.default_rng(seed).integers(30, 91, case.clients)
        if case.task == "gaussian":
            sizes[:] = 1  # one observation a client
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module, x = case.make(), case.draw(int(sizes.sum()))
            y = torch.rand(len(x)) + 1 if case.task == "gaussian" else torch.randint(0, 2, (len(x),))
        self.flat = FlatModel(module, TASKS[case.task], device, torch.float32)
        part = Part({"x": x, "y": y}, np.concatenate([[0], np.cumsum(sizes)]))
        self.data, self.budget = DevicePart(part, device, torch.float32), -(-sizes // 10)
        self.method = build(resolve("fedavg", {})[0])
        self.stacked = stacked_engine(self.flat, self.data, 10)
        self.number = 0

    @torch.no_grad()
    def round(self, engine: str) -> float:
        """Seconds of a round: of the CPU, or of the clock on a GPU."""
        device, clients = self.flat.device, len(self.budget)
        clock = time.perf_counter if device.type == "cuda" else time.process_time
        store = ClientStore(clients, device)
        self.state, self.number = self.method.init(self.flat.start, store), self.number + 1
        make: Any = SequentialCohort if engine == "sequential" else partial(StackedCohort, self.stacked)
        begun = clock()
        cohort = make(
            self.flat, self.data, store, Collective(), np.arange(clients), self.budget,
            RoundConfig(seed=0, number=self.number, batch_size=10, learning_rate=0.01),
        )  # fmt: skip
        self.state = self.method.round(self.state, cohort)
        float(self.state.server["theta"].sum())  # waits for the device
        return clock() - begun


def measure(device: torch.device, cases: tuple[Case, ...] = CASES) -> Iterator[tuple[str, int, float, float]]:
    """(model, parameters, seconds of a sequential round, of a stacked one) for each case."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for case in cases:
            bench = Bench(case, device)
            times: dict[str, list[float]] = {"sequential": [], "stacked": []}
            for turn in range(REPEATS + 1):
                for engine, found in times.items():
                    seconds = bench.round(engine)
                    if turn:  # the first one warms up
                        found.append(seconds)
            yield case.model, bench.flat.size, median(times["sequential"]), median(times["stacked"])
    finally:
        torch.set_num_threads(threads)
