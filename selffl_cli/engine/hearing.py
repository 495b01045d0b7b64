"""What a method may ask of all clients once the last round is over, before models are delivered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .cohort import Cohort
from .parallel.collective import Collective, Dealt


@dataclass
class Hearing:
    """The clients that trained, dealt to the ranks; every rank gets every answer."""

    clients: np.ndarray  # ids of those that could take part, ascending [N]
    samples: np.ndarray  # training samples of every client [M]
    seed: int
    head: Tensor  # True where a parameter belongs to the model's head [P]
    spent: float  # batch gradients of the training, a client
    collective: Collective
    cohort: Callable[[np.ndarray], Cohort]  # of some clients, as they are delivered to
    chunks: Callable[[Dealt], Iterator[np.ndarray]]  # this rank's clients, some at a time
    least: int = 1  # clients that are computed side by side
    gradients: np.ndarray = field(init=False)  # batch gradients that answers have cost each client [M]
    findings: dict[str, Any] = field(default_factory=dict)  # what the run folder keeps of them

    def __post_init__(self) -> None:
        self.gradients = np.zeros(len(self.samples), np.int64)

    def ask(self, clients: np.ndarray, question: Callable[[Cohort], Tensor], shape: tuple[int, ...]) -> np.ndarray:
        """What `question` answers, a row of `shape` for each client of a cohort, for all `clients` [C, *shape]."""
        out = torch.zeros(len(clients), *shape, dtype=torch.float64)
        spent = torch.zeros(len(self.samples), dtype=torch.int64)
        dealt = Dealt(clients, self.samples[clients].astype(np.float64), self.collective, self.least)
        for chunk in self.chunks(dealt):
            cohort = self.cohort(chunk)
            ids = cohort.clients.cpu()
            out[torch.from_numpy(np.searchsorted(clients, ids.numpy()))] = question(cohort).cpu()
            spent[ids] = cohort.counts.each.cpu().long()
        self.gradients += self.collective.add_up(spent).numpy()
        return self.collective.add_up(out).numpy()
