"""The stacked engine: the clients of a chunk train in one batched computation. For GPUs, and for small networks.

It equals the sequential engine up to the order of floating-point sums: 1e-9 in float64 after several rounds, 1e-5
in float32 after one, with the same local steps, gradients and samples.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .chunks import Chunks, cached_clients
from .cohort import Cohort, Local, Params, Step
from .flat import DevicePart, FlatModel
from .lanes import Lanes, Runner, host
from .stacked_model import StackedModel
from .tables import BatchTable, batch_table, batch_width

LEAST = 16  # clients in a block: 20 clients are then one chunk, which makes a small MLP 4 times as fast


class Stacked:
    """What outlives a round: the stacked model, how large a chunk may be, and how steps are carried out."""

    def __init__(self, model: StackedModel, chunks: Chunks, runner: Runner) -> None:
        self.model, self.chunks, self.runner = model, chunks, runner


def stacked_engine(flat: FlatModel, data: DevicePart, batch_size: int | None) -> Stacked:
    """The engine for a model, its training data and batch size (None = full batches) on their device."""
    model = StackedModel(flat)
    if flat.device.type != "cuda":
        return Stacked(model, Chunks(cached_clients(flat.size, flat.start.element_size())), Runner())
    from . import gpu
    from .replay import Replays

    gpu.choose_cell(model)
    batch = min(batch_size or int(data.sizes.max()), int(data.sizes.max()))
    return Stacked(model, Chunks(gpu.clients_that_fit(model, data, batch)), Replays(gpu.Graphs(flat.device)))


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

    def grad(self, params: Tensor, stream: str = "local", step: int = 0) -> Tensor:
        out = torch.empty(params.shape, dtype=params.dtype, device=params.device)

        def work(chunk: np.ndarray) -> None:
            table = self._table(chunk, np.ones(len(chunk), np.int64), step, stream)
            place = torch.as_tensor(chunk, device=out.device)
            x, y = self.data.samples(table.index[0].flatten())
            out[place] = self.stacked.model.gradient(params[place], x, y, table.share[0])[0]
            self.counts.gradients += len(chunk)
            self.counts.samples += table.samples(0, len(chunk))

        self._each_chunk(np.ones(len(self), np.int64), work)
        return out

    def local(
        self,
        step: Step,
        start: Params,
        steps: Tensor,
        context: tuple[Tensor, ...] = (),
        variance: bool = False,
    ) -> Local:
        steps = self.steps_of(steps)
        starts = start if isinstance(start, tuple) else (start,)
        first = starts[0]
        ends = tuple(torch.empty(s.shape, dtype=s.dtype, device=s.device) for s in starts)
        mean = torch.empty(first.shape, dtype=first.dtype, device=first.device) if variance else None
        scatter = torch.zeros(len(self), dtype=first.dtype, device=first.device)
        loss = torch.zeros_like(self.counts.loss)
        number = host(steps)

        def work(chunk: np.ndarray) -> None:
            place = torch.as_tensor(chunk, device=first.device)
            rows, extra = tuple(s[place] for s in starts), tuple(c[place] for c in context)
            lanes = Lanes(
                self.stacked.model, self.data, step, rows, extra, isinstance(start, tuple), variance,
                batch_width(self.batches, self.ids[chunk]),
            )  # fmt: skip
            tables = Streams(partial(self._table, chunk, number[chunk], 0))
            spent = self.stacked.runner.run(lanes, tables.__getitem__, number[chunk])
            for end, row in zip(ends, lanes.rows, strict=True):
                end[place] = row
            if mean is not None and lanes.mean is not None:
                mean[place], scatter[place] = lanes.mean, lanes.scatter
            loss[place] = lanes.loss
            self.counts.gradients += spent["gradients"]
            self.counts.samples += spent["samples"]
            if spent["steps"]:
                self.counts.steps[place] += steps[place]

        self._each_chunk(number, work)
        self.counts.loss += loss
        self._note_divergence(ends, loss)
        return Local(ends if isinstance(start, tuple) else ends[0], mean, scatter if variance else None, steps + 1)

    def _note_divergence(self, ends: tuple[Tensor, ...], loss: Tensor) -> None:
        """Whether every loss and parameter is finite, asked once a local training."""
        finite = loss.isfinite()
        for rows in ends:
            finite &= rows.isfinite().flatten(1).all(1)
        if not finite.all():
            lost = int(self.clients[~finite].min())
            self.counts.diverged = lost if self.counts.diverged < 0 else min(self.counts.diverged, lost)

    def _table(self, chunk: np.ndarray, steps: np.ndarray, first: int, stream: str) -> BatchTable:
        """Batches of a stream for the clients at these positions of the cohort."""
        return batch_table(
            self.batches, self.data, stream, self.ids[chunk], steps, first=first,
            mean=self.model.task.reduction == "mean", dtype=self.model.dtype,
        )  # fmt: skip

    def _each_chunk(self, steps: np.ndarray, work: Callable[[np.ndarray], None]) -> None:
        """`work` for chunks of positions, clients with as many steps and samples together."""
        order = np.lexsort((-self.data.sizes[self.ids], -steps))
        block = self.dealt.block[self.dealt.local] if self.in_blocks else np.zeros(len(self))
        for own in np.unique(block):
            self.stacked.chunks.each(order[block[order] == own], work, self.stacked.runner.forget)

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
