"""The training data of each round: everything at once, or one period after another with each client's memory.

A period lasts `rounds` rounds. In it a client trains on the period's new samples and on its memory, at most N samples
of earlier periods. At the end of a period *every* client that trains chooses its new memory out of both, whether or not
it took part in the last round, since the samples it does not keep are gone. By gradients it does so at the global model
(its own where a method has none), which the server sends it for that.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch

from ..config.experiment import TrainConfig
from ..config.memory import Coordinated, Everything, Nothing, Uncoordinated, memory
from ..draws import generator
from ..engine.cohort import Cohort, State
from ..engine.flat import DevicePart, FlatModel
from ..engine.parallel.collective import Collective, Dealt
from ..engine.store import ClientStore
from ..errors import SelfflError
from ..methods.base import Method
from ..shards import Shards
from .chance import draw
from .coordination import Choice, Clients, choose
from .gradients import LastLayer

TABLE = "memory"  # rows of the training part that a client keeps, padded with -1: int64 [N]


class Learner(Protocol):
    """What choosing by gradients needs of a run: its clients that train, its model, and what its method has learnt."""

    pool: np.ndarray
    model: FlatModel
    method: Method
    state: State

    def cohort(self, clients: np.ndarray, round_: int, collective: Collective) -> Cohort: ...


class Stream:
    """What each client trains on in each round."""

    def __init__(self, train: TrainConfig, shards: Shards, part: DevicePart, store: ClientStore, seed: int) -> None:
        self.train, self.part, self.store, self.seed = train, part, store, seed
        self.periods = shards.periods if train.periods else 1
        self.rounds = train.rounds * self.periods
        self.starts = cells(shards, "train") if self.periods > 1 else part.offsets[:, None]
        self.memory = memory(train.memory)
        if self.periods > 1 and train.memory_size and not isinstance(self.memory, Nothing | Everything):
            store.add(TABLE, torch.full((train.memory_size,), -1))
        self._period, self._data, self._budget = -1, part, self._steps(part)

    def period(self, round_: int) -> int:
        """From 0; round 0, the start, counts to the first, and what comes after the last round to the last."""
        return min(max(round_ - 1, 0) // self.train.rounds, self.periods - 1)

    def at(self, round_: int) -> tuple[DevicePart, np.ndarray]:
        """The training data in a round, and FedAvg's local steps of each client on it [M]."""
        period = self.period(round_)
        if self.periods > 1 and period != self._period:
            rows = [self.rows(client, period) for client in range(len(self.part.sizes))]
            self._data, self._period = self.part.take(rows), period
            self._budget = self._steps(self._data)
        return self._data, self._budget

    def _steps(self, data: DevicePart) -> np.ndarray:
        distinct, which = np.unique(data.sizes, return_inverse=True)
        return np.array([self.train.budget(int(size)) for size in distinct])[which]

    def evaluates(self, round_: int) -> bool:
        """Whether all clients are scored after this round: as `[train]` says, in each period, and at its end."""
        return self.train.evaluates((round_ - 1) % self.train.rounds + 1 if round_ else 0)

    def fresh(self, round_: int) -> np.ndarray:
        """Each client's new samples in the period of a round [M]."""
        period = self.period(round_)
        return self.part.sizes if self.periods == 1 else self.starts[:, period + 1] - self.starts[:, period]

    def rows(self, client: int, period: int) -> np.ndarray:
        """Rows of the training part that a client has in a period: its memory, then the new ones."""
        begin, end = self.starts[client, period : period + 2]
        if isinstance(self.memory, Everything):
            return np.arange(self.starts[client, 0], end)
        if period == 0 or isinstance(self.memory, Nothing):
            return np.arange(begin, end)
        kept = self.store.read(TABLE, torch.tensor([client]))[0].cpu().numpy()
        return np.concatenate([kept[kept >= 0], np.arange(begin, end)])

    def end_of_period(self, round_: int, learner: Learner, collective: Collective) -> dict[str, Any] | None:
        """After the last round of a period that has a next one: every client chooses its memory.

        Returns what it cost and showed, the same on every rank; None where nothing was chosen.
        """
        last = round_ % self.train.rounds == 0 and round_ < self.rounds
        if not last or isinstance(self.memory, Nothing | Everything):
            return None
        data, _ = self.at(round_)
        dealt = Dealt(learner.pool, data.sizes[learner.pool].astype(np.float64), collective)
        own = dealt.clients[dealt.local]
        line: dict[str, Any] = {"period": self.period(round_) + 1, "bytes_up": 0, "bytes_down": 0}
        if isinstance(self.memory, Uncoordinated):
            choice = self._by_gradients(round_, learner, dealt, own, line)
            kept = choice.kept
            line |= {"norms": choice.norms, "rounded_norm": choice.rounded}
        else:
            kept = [self._by_chance(int(client), self.period(round_)) for client in own]
        table = torch.full((len(own), int(self.train.memory_size or 0)), -1)
        for i, (client, positions) in enumerate(zip(own, kept, strict=True)):
            rows = self.rows(int(client), self.period(round_))[positions]
            table[i, : len(rows)] = torch.from_numpy(rows)
        # every rank writes all rows, once all have chosen: the same values, and whole also where no memory is shared
        self.store.write(TABLE, torch.as_tensor(dealt.clients), dealt.gather(table))
        return line

    def _by_chance(self, client: int, period: int) -> np.ndarray:
        begin, end = (int(row) for row in self.starts[client, period : period + 2])
        old = len(self.rows(client, period)) - (end - begin)
        seen = begin - int(self.starts[client, 0])
        rng = generator(self.seed, "memory", period, client)
        return draw(self.memory, old, end - begin, seen, int(self.train.memory_size or 0), rng)

    def _by_gradients(
        self, round_: int, learner: Learner, dealt: Dealt, own: np.ndarray, line: dict[str, Any]
    ) -> Choice:
        assert isinstance(self.memory, Uncoordinated)
        model, theta = learner.model, learner.method.global_(learner.state)
        data, _ = self.at(round_)
        if theta is None:
            models = learner.method.personal(learner.state, learner.cohort(own, round_, Collective()))
        else:
            models = theta.expand(len(own), -1)
        layer = LastLayer(model)
        clients = Clients(
            layer, [(row, *data.client(int(c))) for row, c in zip(models, own, strict=True)],
            self.memory.gradients == "unit",
        )  # fmt: skip
        iterations = self.memory.iterations if isinstance(self.memory, Coordinated) else 0
        each = len(dealt.clients) * model.vector.element_size()
        exchange = iterations * layer.shape[0] * layer.shape[1] * each
        line["bytes_up"] = exchange
        line["bytes_down"] = exchange + (0 if theta is None else model.size * each)
        width = int(data.sizes[dealt.clients].max())
        return choose(clients, dealt, int(self.train.memory_size or 0), width, iterations)


def cells(shards: Shards, name: str) -> np.ndarray:
    """Where each period of each client begins in a part, and ends: rows [M, T + 1]."""
    part, periods = shards.part(name), shards.periods
    if "period" not in part.arrays:
        raise SelfflError(f"{shards.path}: train.periods is set, but these shards are not dealt into periods")
    counts = np.zeros((shards.num_clients, periods), np.int64)
    np.add.at(counts, (np.repeat(np.arange(shards.num_clients), part.sizes), part.arrays["period"].numpy()), 1)
    return part.offsets[:-1, None] + np.concatenate([np.zeros((len(counts), 1), np.int64), counts.cumsum(1)], axis=1)


def by_period(shards: Shards, name: str, part: DevicePart) -> dict[str, DevicePart]:
    """A part cut by period, {"period-1": …}, to see what is forgotten of each."""
    starts = cells(shards, name)
    return {
        f"period-{period + 1}": part.take([np.arange(*row) for row in starts[:, period : period + 2]])
        for period in range(shards.periods)
    }
