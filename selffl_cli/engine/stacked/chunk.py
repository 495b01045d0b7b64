"""The clients of one chunk side by side: their rows, and one local step of all of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..cohort import LastIterates, Step, average_update, scatter_update
from ..flat import DevicePart
from .batch_tables import BatchTable
from .model import StackedModel

Tables = Callable[[str], BatchTable]  # the batches of a stream, made when it is first asked for
Batch = Callable[[str], tuple[Tensor, Tensor]]  # index and share of one step's batches of a stream [width, B]


@dataclass(frozen=True)
class LocalTraining:
    """How clients train, whoever they are: what `Cohort.local` was given but for the rows."""

    step: Step
    paired: bool  # the step gets and gives a tuple of rows, not one tensor
    variance: bool  # summarise the iterates of the first tensor
    average: LastIterates | None = None  # average the last iterates of a tensor
    batch: int = 0  # samples of a batch, padding included


class Lanes:
    """K clients in descending order of their steps, so that those who still train are always the first ones.

    `rows`: tensors [K, …] of their own, which the steps overwrite; `context` is handed to the step. Where iterates
    are averaged, the first `skip` [K] of them are left out.
    """

    def __init__(
        self,
        model: StackedModel,
        data: DevicePart,
        training: LocalTraining,
        rows: tuple[Tensor, ...],
        context: tuple[Tensor, ...],
        skip: Tensor | None = None,
    ) -> None:
        self.model, self.data, self.training = model, data, training
        self.rows, self.context = rows, context
        first, average = rows[0], training.average
        self.mean = first.clone() if training.variance else None
        self.scatter = torch.zeros(len(first), dtype=first.dtype, device=first.device)
        self.skip = skip
        self.averages = rows[average.place].clone() if average else None
        self.loss = torch.zeros(len(first), dtype=torch.float64, device=first.device)
        self.streams: list[str] = []  # of the gradients that the last step asked for

    def __len__(self) -> int:
        return len(self.loss)

    def buffers(self) -> list[Tensor]:
        """Every tensor that a step reads or writes."""
        summaries = [t for t in (self.mean, self.averages, self.skip) if t is not None]
        return [*self.rows, *self.context, *summaries, self.scatter, self.loss]

    def copy(self) -> Lanes:
        """Lanes of the same shapes with tensors of their own."""
        rows, context = (tuple(t.clone() for t in group) for group in (self.rows, self.context))
        skip = None if self.skip is None else self.skip.clone()
        return Lanes(self.model, self.data, self.training, rows, context, skip)

    def take(self, other: Lanes) -> None:
        """Overwrite every tensor with the other's."""
        for own, given in zip(self.buffers(), other.buffers(), strict=True):
            own.copy_(given)

    def advance(self, width: int, batch: Batch, number: int | Tensor, active: Tensor | None = None) -> None:
        """Step `number` (from 0) of the first `width` clients, or of those of them that are `active` [width]."""
        self.streams = []

        def grad(params: Tensor, stream: str = "local") -> Tensor:
            index, share = batch(stream)
            gradient, loss = self.model.gradient(params, *self.data.samples(index.flatten()), share)
            if stream == "local" and stream not in self.streams:
                self.loss[:width] += loss if active is None else torch.where(active, loss, 0)
            self.streams.append(stream)
            return gradient

        rows = tuple(row[:width] for row in self.rows)
        extra = tuple(values[:width] for values in self.context)
        training = self.training
        new = training.step(rows if training.paired else rows[0], grad, *extra)
        keep(rows, new if isinstance(new, tuple) else (new,), active)
        if self.mean is not None:
            old = self.mean[:width], self.scatter[:width]
            keep(old, scatter_update(*old, number + 2, rows[0]), active)  # type: ignore[arg-type]
        if training.average and self.averages is not None and self.skip is not None:
            own = self.averages[:width]
            later = average_update(own, rows[training.average.place], number + 1 - self.skip[:width])
            keep((own,), (later,), active)


def keep(rows: tuple[Tensor, ...], new: tuple[Tensor, ...], active: Tensor | None) -> None:
    """Write new rows over the old where `active`; a view of an old row is copied before that is overwritten."""
    if active is not None:
        new = tuple(
            torch.where(active.view(-1, *[1] * (row.dim() - 1)), value, row)
            for row, value in zip(rows, new, strict=True)
        )
    held = {row.untyped_storage().data_ptr() for row in rows}
    new = tuple(v.clone() if v.untyped_storage().data_ptr() in held else v for v in new)
    for row, value in zip(rows, new, strict=True):
        row.copy_(value)


class StepCounts:
    """What K clients' local training cost each of them."""

    def __init__(self, clients: int) -> None:
        self.gradients = np.zeros(clients, np.int64)  # of batches [K]
        self.samples = np.zeros(clients, np.int64)  # in those batches [K]
        self.steps = np.zeros(clients, np.int64)  # that drew from the main stream [K]

    def add(self, streams: list[str], tables: Tables, number: int, width: int) -> None:
        """Count step `number` of the first `width` clients."""
        for stream in streams:
            self.gradients[:width] += 1
            self.samples[:width] += tables(stream).samples(number, width)
        if "local" in streams:
            self.steps[:width] += 1


class Runner:
    """Takes a chunk through its local steps, each as Python meets it. `capture.py` replays them instead."""

    def run(self, lanes: Lanes, tables: Tables, steps: np.ndarray) -> StepCounts:
        """Train for `steps` [K] (descending)."""
        spent = StepCounts(len(lanes))
        for number, width in enumerate(still_training(steps)):
            lanes.advance(width, lambda stream, n=number, w=width: tables(stream).at(n, w), number)  # type: ignore[misc]
            spent.add(lanes.streams, tables, number, width)
        return spent

    def forget(self) -> None:
        """Let go of what is kept between chunks."""


def still_training(steps: np.ndarray) -> list[int]:
    """How many clients take part in each step, their steps [K] in descending order."""
    return [int((steps > number).sum()) for number in range(int(steps.max(initial=0)))]


def host(values: Any) -> np.ndarray:
    """A tensor's numbers on the host: the one wait for the device in local training, as batches are drawn there."""
    return values.cpu().numpy()
