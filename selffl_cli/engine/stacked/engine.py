"""The stacked engine: the clients of a chunk train in one batched computation. For GPUs, and for small networks.

It equals the sequential engine up to the order of floating-point sums: 1e-9 in float64 after several rounds, 1e-5
in float32 after one, with the same local steps, gradients and samples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ..batches import Batches
from ..cohort import Cohort, LastIterates, Local, Params, Step
from ..flat import DevicePart, FlatModel
from .batch_tables import BatchTable, batch_width, drawn, weighed
from .chunk import Lanes, LocalTraining, Runner, StepCounts, host
from .chunk_size import Chunks, cached_clients
from .model import StackedModel

LEAST = 16  # clients in a block: 20 clients are then one chunk, which makes a small MLP 4 times as fast


@dataclass
class Work:
    """A local training that a cohort wants: K clients, what `Cohort.local` was given, and whose batches they see."""

    step: Step
    starts: tuple[Tensor, ...]  # rows [K, …]
    paired: bool  # the step gets a tuple of rows, not one tensor
    steps: np.ndarray  # of each client [K]
    context: tuple[Tensor, ...]  # rows [K, …]
    variance: bool  # summarise the iterates of the first tensor
    clients: np.ndarray  # ids in `data` and `batches` [K]
    batches: Batches
    data: DevicePart
    block: np.ndarray  # clients of different blocks are never computed side by side [K]
    average: LastIterates | None = None  # average the last iterates of a tensor
    first: int = 0  # number of the first step, of whose batches the training begins


@dataclass
class Trained:
    """What came of it, row i for the work's client i."""

    ends: tuple[Tensor, ...]
    loss: Tensor  # [K]
    spent: StepCounts
    mean: Tensor | None = None  # [K, P]
    scatter: Tensor | None = None  # [K]
    average: Tensor | None = None  # [K, P]


class Seat(Protocol):
    """A run's place among runs whose local trainings are computed as one (`engine/stacked/joint_seeds.py`)."""

    def train(self, engine: Stacked, work: Work) -> Trained: ...


class Stacked:
    """What outlives a round: the stacked model, how large a chunk may be, and how steps are carried out."""

    def __init__(self, model: StackedModel, chunks: Chunks, runner: Runner, seat: Seat | None = None) -> None:
        self.model, self.chunks, self.runner, self.seat = model, chunks, runner, seat

    def train(self, work: Work) -> Trained:
        """Carry out a local training, beside those of other runs where this one has a seat among them."""
        return self.seat.train(self, work) if self.seat else self.compute(work)

    def compute(self, work: Work) -> Trained:
        """Carry out a local training chunk by chunk."""
        first = work.starts[0]
        ends = tuple(torch.empty(s.shape, dtype=s.dtype, device=s.device) for s in work.starts)
        mean = torch.empty(first.shape, dtype=first.dtype, device=first.device) if work.variance else None
        scatter = torch.zeros(len(first), dtype=first.dtype, device=first.device) if work.variance else None
        averaged = work.starts[work.average.place] if work.average else None
        average = None if averaged is None else torch.empty(averaged.shape, dtype=first.dtype, device=first.device)
        loss = torch.zeros(len(first), dtype=torch.float64, device=first.device)
        spent = StepCounts(len(first))

        def train(chunk: np.ndarray) -> None:
            place = torch.as_tensor(chunk, device=first.device)
            clients, steps = work.clients[chunk], work.steps[chunk]
            skip = work.average.skip(torch.as_tensor(steps, device=first.device)) if work.average else None
            batch = batch_width(work.batches, clients)
            training = LocalTraining(work.step, work.paired, work.variance, work.average, batch)
            rows, context = (tuple(t[place] for t in group) for group in (work.starts, work.context))
            lanes = Lanes(self.model, work.data, training, rows, context, skip)
            tables = Streams(lambda stream: self.table(work.batches, work.data, stream, clients, steps, work.first))
            own = self.runner.run(lanes, tables.__getitem__, steps)
            for end, row in zip(ends, lanes.rows, strict=True):
                end[place] = row
            if mean is not None and scatter is not None and lanes.mean is not None:
                mean[place], scatter[place] = lanes.mean, lanes.scatter
            if average is not None and lanes.averages is not None:
                average[place] = lanes.averages
            loss[place] = lanes.loss
            spent.gradients[chunk], spent.samples[chunk], spent.steps[chunk] = own.gradients, own.samples, own.steps

        self.each_chunk(work.clients, work.data, work.steps, work.block, train)
        return Trained(ends, loss, spent, mean, scatter, average)

    def table(
        self, batches: Batches, data: DevicePart, stream: str, clients: np.ndarray, steps: np.ndarray, first: int = 0
    ) -> BatchTable:
        """Batches of a stream for these clients' `steps` from step `first` on."""
        flat = self.model.flat
        index, counts = drawn(batches, data, stream, clients, steps, first)
        return weighed(index, counts, flat.task.reduction == "mean", flat.dtype, data.x.device)

    def each_chunk(
        self, clients: np.ndarray, data: DevicePart, steps: np.ndarray, block: np.ndarray,
        work: Callable[[np.ndarray], None],
    ) -> None:  # fmt: skip
        """`work` for chunks of positions within `clients`, those with as many steps and samples together."""
        order = np.lexsort((-data.sizes[clients], -steps))
        for own in np.unique(block):
            self.chunks.each(order[block[order] == own], work, self.runner.forget)


def stacked_engine(flat: FlatModel, data: DevicePart, batch_size: int | None, seat: Seat | None = None) -> Stacked:
    """The engine for a model, its training data and batch size (None = full batches) on their device."""
    model = StackedModel(flat)
    if flat.device.type != "cuda":
        return Stacked(model, Chunks(cached_clients(flat.size, flat.start.element_size())), Runner(), seat)
    from . import cuda as gpu
    from .capture import CapturedRunner

    gpu.choose_cell(model)
    batch = min(batch_size or int(data.sizes.max()), int(data.sizes.max()))
    return Stacked(
        model, Chunks(gpu.clients_that_fit(model, data, batch)), CapturedRunner(gpu.Graphs(flat.device)), seat
    )


class StackedCohort(Cohort):
    """Trains its clients chunk by chunk; a step gets the rows of all clients of a chunk that still train.

    On the CPU a chunk never goes beyond one of the fixed blocks in which clients are dealt to ranks, so that who
    is computed beside whom, and with it every bit of the result, is the same for any number of ranks.
    """

    def __init__(self, stacked: Stacked, model: FlatModel, *arguments: Any, **options: Any) -> None:
        """As `Cohort`, behind what the rounds share."""
        self.in_blocks = model.device.type == "cpu"
        self.least = LEAST if self.in_blocks else 1
        super().__init__(model, *arguments, **options)
        self.stacked = stacked
        self.ids = self.dealt.clients[self.dealt.local]  # `clients` on the host [C]
        self.block = self.dealt.block[self.dealt.local] if self.in_blocks else np.zeros(len(self), np.int64)

    def grad(self, params: Tensor, stream: str = "local", step: int = 0) -> Tensor:
        out = torch.empty(params.shape, dtype=params.dtype, device=params.device)
        once = np.ones(len(self), np.int64)

        def work(chunk: np.ndarray) -> None:
            table = self.stacked.table(self.batches, self.data, stream, self.ids[chunk], once[chunk], step)
            place = torch.as_tensor(chunk, device=out.device)
            x, y = self.data.samples(table.index[0].flatten())
            out[place] = self.stacked.model.gradient(params[place], x, y, table.share[0])[0]
            self.counts.gradients += len(chunk)
            self.counts.each[place] += 1
            self.counts.samples += int(table.samples(0, len(chunk)).sum())

        self.stacked.each_chunk(self.ids, self.data, once, self.block, work)
        return out

    def local(
        self,
        step: Step,
        start: Params,
        steps: Tensor,
        context: tuple[Tensor, ...] = (),
        variance: bool = False,
        average: LastIterates | None = None,
    ) -> Local:
        steps, paired = self.steps_of(steps), isinstance(start, tuple)
        starts = start if isinstance(start, tuple) else (start,)
        done = self.stacked.train(Work(
            step, starts, paired, host(steps), context, variance, self.ids, self.batches, self.data, self.block,
            average, self.first_step,
        ))  # fmt: skip
        self.counts.loss += done.loss
        self.counts.steps += torch.as_tensor(done.spent.steps, device=done.loss.device)
        self.counts.each += torch.as_tensor(done.spent.gradients, device=done.loss.device)
        self.counts.gradients += int(done.spent.gradients.sum())
        self.counts.samples += int(done.spent.samples.sum())
        self._note_divergence(done.ends, done.loss)
        return Local(done.ends if paired else done.ends[0], done.mean, done.scatter, steps + 1, done.average)

    def _note_divergence(self, ends: tuple[Tensor, ...], loss: Tensor) -> None:
        """Whether every loss and parameter is finite, asked once a local training."""
        finite = loss.isfinite()
        for rows in ends:
            finite &= rows.isfinite().flatten(1).all(1)
        if not finite.all():
            lost = int(self.clients[~finite].min())
            self.counts.diverged = lost if self.counts.diverged < 0 else min(self.counts.diverged, lost)

    def sum(self, values: Tensor, weights: Tensor | None = None) -> Tensor:
        """As `Dealt.sum` and to its bits, but one operation for each place within the blocks, not one a client."""
        dealt = self.dealt
        sums = values.new_zeros((dealt.num_blocks, *values.shape[1:]))
        block = dealt.block[dealt.local]  # ascending, so a block's clients stand together
        position = np.arange(len(block)) - np.searchsorted(block, block)
        for place in range(int(position.max(initial=-1)) + 1):
            rows = np.flatnonzero(position == place)
            at, into = (torch.as_tensor(ids, device=values.device) for ids in (rows, block[rows]))
            own = values[at]
            if weights is not None:
                own = own * weights[at].view(-1, *[1] * (own.dim() - 1))
            sums[into] += own
        sums = dealt.collective.add_up(sums)
        total = sums[0].clone()
        for part in sums[1:]:
            total.add_(part)
        return total


class Streams(defaultdict[str, BatchTable]):
    """{stream: its batches}, made when a stream is first asked for."""

    def __init__(self, make: Callable[[str], BatchTable]) -> None:
        super().__init__()
        self.make = make

    def __missing__(self, stream: str) -> BatchTable:
        self[stream] = self.make(stream)
        return self[stream]
