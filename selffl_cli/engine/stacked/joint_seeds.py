"""Runs that differ in their seed train side by side: their clients are stacked in one computation.

A step of 77 small LSTMs leaves most of a GPU idle, and one of five times as many takes three times as long (H200). So
each run keeps to its own program, in a thread of its own, and they meet where they train: once all of them want a local
training, those that are alike are put together, carried out as one, and dealt back. One thread runs at a time; what a
run computes is what it computes alone, up to the order of floating-point sums.
"""

from __future__ import annotations

import copy
import threading
from collections import OrderedDict
from collections.abc import Callable
from itertools import accumulate, pairwise
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..batches import Batches
from ..cohort import Step, closure_values
from ..flat import DevicePart, FlatModel
from .chunk import StepCounts
from .engine import Stacked, Trained, Work, stacked_engine

TABLE = "embedding"  # a frozen table that whole numbers above 0 index, as a text's tokens do
KEPT_ENGINES = 2  # joined engines that are kept: two methods' runs may overlap


class Together:
    """The runs that are under way, and whose turn it is."""

    def __init__(self) -> None:
        self.turn = threading.Condition()
        self.holder: SharedSeat | None = None
        self.places: list[SharedSeat] = []  # of runs that have not ended, in the order in which they came
        self.wanted: dict[SharedSeat, tuple[Stacked, Work]] = {}
        self.given: dict[SharedSeat, Trained | BaseException] = {}
        self.joined: OrderedDict[tuple[int, ...], Joined] = OrderedDict()  # by the ids of their engines and data
        self.largest = 0  # local trainings that were carried out as one

    def place(self) -> SharedSeat:
        """A place for one more run; nobody trains until it has asked for a training too, or has left."""
        with self.turn:
            self.places.append(SharedSeat(self))
            return self.places[-1]

    def compute(self) -> None:
        """Carry out what is wanted, alike trainings as one."""
        waiting = [place for place in self.places if place in self.wanted]
        while waiting:
            first, work = waiting[0], self.wanted[waiting[0]][1]
            group = [p for p in waiting if p.kind == first.kind and alike(work, self.wanted[p][1])]
            waiting = [place for place in waiting if place not in group]
            try:
                results: list[Any] = self._carry_out([self.wanted.pop(place) for place in group])
            except BaseException as error:  # each of these runs ends with it
                results = [error] * len(group)
            self.given |= dict(zip(group, results, strict=True))

    def _carry_out(self, wanted: list[tuple[Stacked, Work]]) -> list[Trained]:
        engines, works = [engine for engine, _ in wanted], [work for _, work in wanted]
        if len(wanted) == 1:
            return [engines[0].compute(works[0])]
        self.largest = max(self.largest, len(wanted))
        key = (*map(id, engines), *(id(work.data) for work in works))  # kept alive below, so that no other takes them
        joined = self.joined.pop(key, None) or Joined(engines, works)
        self.joined[key] = joined
        if len(self.joined) > KEPT_ENGINES:
            self.joined.popitem(last=False)
        return joined.train(works)


class SharedSeat:
    """One run's place among the others: it runs between `enter` and `leave`, but for the time it waits in `train`."""

    def __init__(self, together: Together) -> None:
        self.together = together
        self.kind: object = None

    def enter(self) -> None:
        """Wait for the first turn."""
        with self.together.turn:
            self._wait(lambda: True)

    def leave(self) -> None:
        """Give up the turn and the place."""
        together = self.together
        with together.turn:
            together.places.remove(self)
            together.holder = None
            together.turn.notify_all()

    def train(self, engine: Stacked, work: Work) -> Trained:
        """Give up the turn until every other run wants a training too or has left; then the result of this one."""
        together = self.together
        self.kind = self.kind or kind(engine.model.flat)
        with together.turn:
            together.wanted[self] = engine, work
            together.holder = None
            together.turn.notify_all()
            self._wait(lambda: self in together.given or len(together.wanted) == len(together.places))
        if self not in together.given:
            together.compute()  # while this run has the turn, no other moves
            with together.turn:
                together.turn.notify_all()
        result = together.given.pop(self)
        if isinstance(result, BaseException):
            raise result
        return result

    def _wait(self, ready: Callable[[], bool]) -> None:
        """Take the turn when nobody has it and `ready` says so."""
        self.together.turn.wait_for(lambda: self.together.holder is None and ready())
        self.together.holder = self


def kind(flat: FlatModel) -> object:
    """What two runs' models must share to be one network: everything but parameters and the rows of token tables."""
    parts = [
        {k: v for k, v in vars(part).items() if isinstance(v, int | float | str | tuple | None)}
        for part in flat.module.modules()
    ]
    frozen = {
        name: (tuple(table.shape[1:]), table[0].tolist()) if name == TABLE else table.tolist()
        for name, table in flat.module.named_buffers()
    }
    return str(flat.module), parts, frozen, flat.layout, flat.task, flat.dtype, flat.bf16, flat.device


def alike(one: Work, other: Work) -> bool:
    """Whether two trainings can be one: the same step, batch size and shapes of rows and samples."""
    return (
        one.batches.batch_size == other.batches.batch_size
        and (one.paired, one.variance, one.average, one.first)
        == (other.paired, other.variance, other.average, other.first)
        and shapes(one) == shapes(other)
        and same_step(one.step, other.step)
    )


def shapes(work: Work) -> list[tuple[torch.Size, torch.dtype]]:
    """Of a client's rows, and of its samples."""
    return [(rows.shape[1:], rows.dtype) for rows in (*work.starts, *work.context, work.data.x, work.data.y)]


def same_step(one: Step, other: Step) -> bool:
    """Whether two steps compute the same: one function, holding equal values."""
    if not (isinstance(one, FunctionType) and isinstance(other, FunctionType) and one.__code__ is other.__code__):
        return one is other
    return all(same_value(a, b) for a, b in zip(closure_values(one), closure_values(other), strict=True))


def same_value(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and one.shape == other.shape and torch.equal(one, other)
    return bool(one == other)


class JoinedBatches(Batches):
    """The batches of several runs, whose clients are numbered one run after another."""

    def __init__(self, runs: list[Batches]) -> None:
        self.runs, self.batch_size = runs, runs[0].batch_size
        self.sizes = np.concatenate([run.sizes for run in runs])
        self.begins = np.cumsum([0, *(len(run.sizes) for run in runs[:-1])])

    def indices(self, stream: str, client: int, step: int) -> np.ndarray | None:
        run, own = self._own(client)
        return run.indices(stream, own, step)

    def whole(self, client: int) -> np.ndarray:
        run, own = self._own(client)
        return run.whole(own)

    def _own(self, client: int) -> tuple[Batches, int]:
        """The batches of the client's run, and its number there."""
        run = int(np.searchsorted(self.begins, client, side="right")) - 1
        return self.runs[run], client - int(self.begins[run])


class Joined:
    """The engine, the data and the frozen tables of several runs as one."""

    def __init__(self, engines: list[Stacked], works: list[Work]) -> None:
        self.sources = engines, [work.data for work in works]
        flats = [engine.model.flat for engine in engines]
        module = copy.deepcopy(flats[0].module)
        tables = [table for flat in flats for name, table in flat.module.named_buffers() if name == TABLE]
        begins = [0] * len(flats)
        if any(not same_value(tables[0], table) for table in tables):
            setattr(module, TABLE, torch.cat(tables))
            begins = list(accumulate((len(table) for table in tables[:-1]), initial=0))
        self.data = DevicePart.of_tensors(
            torch.cat([renumbered(work.data.x, begin) for work, begin in zip(works, begins, strict=True)]),
            torch.cat([work.data.y for work in works]),
            np.concatenate([work.data.sizes for work in works]),
        )
        flat = FlatModel(module, flats[0].task, flats[0].device, flats[0].dtype, flats[0].bf16, flats[0].metrics)
        self.stacked = stacked_engine(flat, self.data, works[0].batches.batch_size)

    def train(self, works: list[Work]) -> list[Trained]:
        """Carry out trainings of these runs, in the order in which they were joined, as one."""
        first, batches = works[0], JoinedBatches([work.batches for work in works])
        clients = np.concatenate([work.clients + begin for work, begin in zip(works, batches.begins, strict=True)])
        done = self.stacked.compute(Work(
            first.step, columns([work.starts for work in works]), first.paired,
            np.concatenate([work.steps for work in works]), columns([work.context for work in works]),
            first.variance, clients, batches, self.data, np.zeros(len(clients), np.int64), first.average, first.first,
        ))  # fmt: skip
        ends = list(accumulate((len(work.clients) for work in works), initial=0))
        return [rows_of(done, slice(*pair)) for pair in pairwise(ends)]


def renumbered(x: Tensor, begin: int) -> Tensor:
    """Tokens whose table begins at this row; 0, padding, stays."""
    return torch.where(x > 0, x + begin, x) if begin else x


def columns(groups: list[tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
    return tuple(torch.cat(rows) for rows in zip(*groups, strict=True))


def rows_of(done: Trained, rows: slice) -> Trained:
    """What came of some of the clients."""
    spent = StepCounts(rows.stop - rows.start)
    spent.gradients, spent.samples, spent.steps = (
        values[rows] for values in (done.spent.gradients, done.spent.samples, done.spent.steps)
    )
    mean, scatter, average = (
        None if values is None else values[rows] for values in (done.mean, done.scatter, done.average)
    )
    return Trained(tuple(end[rows] for end in done.ends), done.loss[rows], spent, mean, scatter, average)
