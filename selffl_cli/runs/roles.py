"""Who trains and who is judged in a run. Training, judging, audits and reports all ask here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..draws import generator, sample_clients


@dataclass(frozen=True)
class Roles:
    """The parts that the clients 0 to M - 1 of a run play; every array holds ids in ascending order."""

    clients: int  # M
    newcomers: np.ndarray  # held out of training, judged at its end
    judged: np.ndarray  # all others: the clients that figures speak of
    pool: np.ndarray  # of `judged`, those that have a training sample and may be drawn for a round
    everyone: bool  # whether evaluations score all clients (the newcomers among them, whom no figure counts)
    sample: np.ndarray  # of `judged`, those that evaluations score: the clients behind every figure of a run
    new_sample: np.ndarray  # of `newcomers`, those that are judged at the end

    @property
    def scored(self) -> np.ndarray:
        """The clients whose models are scored in an evaluation [E]; sums over samples have a column for each."""
        return np.arange(self.clients) if self.everyone else self.sample

    @property
    def counted(self) -> np.ndarray:
        """Positions in `scored` of the clients that figures speak of."""
        return self.judged if self.everyone else np.arange(len(self.sample))


def assign_roles(seed: int, sizes: np.ndarray, held_out: float, scored: int | Literal["all"]) -> Roles:
    """The roles in a run with this seed.

    `sizes` [M] are the clients' training samples. `held_out` is the share of clients that never train. Evaluations
    score `scored` clients: a fixed sample, the same for every method of a seed.
    """
    everybody = np.arange(len(sizes))
    newcomers = _held_out(seed, held_out, len(sizes))
    judged = np.setdiff1d(everybody, newcomers)

    def sample(clients: np.ndarray) -> np.ndarray:
        if scored == "all" or scored >= len(clients):
            return clients
        return clients[sample_clients(seed, 0, len(clients), scored, "eval-clients")]

    everyone = scored == "all" or scored >= len(judged)
    pool = judged[sizes[judged] > 0]
    return Roles(len(sizes), newcomers, judged, pool, everyone, sample(judged), sample(newcomers))


def _held_out(seed: int, share: float, clients: int) -> np.ndarray:
    """The clients held out of training, the same for every method of a seed; at least one always trains."""
    held = min(round(share * clients), clients - 1)
    if held <= 0:
        return np.empty(0, np.int64)
    return np.sort(generator(seed, "new-clients").choice(clients, held, replace=False))
