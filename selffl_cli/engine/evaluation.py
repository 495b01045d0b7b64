"""Scores of the global model and of every client's personal model on any part of the data.

Batches have fixed boundaries and per-client sums are taken in sample order, so that results are the same to the bit
for any number of ranks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..metrics.metric import Metric
from ..models.task import Task
from ..shards import PARTS
from .flat import DevicePart, FlatModel
from .parallel.collective import Collective, Dealt

BATCH, BATCH_VALUES = 512, 512 * 28 * 28  # an evaluation batch: at most so many samples and numbers (see `batch`)
GPU_TIMES = 32  # as many on a GPU, which has no cache to keep them in
CHUNK_CLIENTS, CHUNK_BYTES = 32, 4 * 2**20  # personal models that a rank holds at once: at most so many and so large

# {part: [2 + K, M]}: sums over each client's samples of the score (correct, squared error, …), of the loss, and of the
# scores of the K metrics that are recorded beside the task's own
Sums = dict[str, np.ndarray]


def batch(x: Tensor) -> int:
    """Samples of x [n, …] in one evaluation batch: 512, fewer where a sample is large.

    The maps of a convolutional network should stay in the cache: CNN-11 takes 6.0 ms a clip of 76 x 64 features in
    batches of 64 and 7.2 ms in batches of 512 (one core).
    """
    times = GPU_TIMES if x.is_cuda else 1
    return max(1, min(times * BATCH, times * BATCH_VALUES // max(1, x[0].numel()))) if len(x) else BATCH


@torch.no_grad()
def sample_scores(model: FlatModel, vector: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Score, loss and further scores of each sample, summed over its units: float64 [2 + K, n]."""
    out = torch.empty(model.scored, len(y), dtype=torch.float64)
    size = batch(x)
    for begin in range(0, len(y), size):
        piece = slice(begin, begin + size)
        outputs = model.outputs(vector, x[piece])
        for row, values in enumerate(scores(model, outputs, x[piece], y[piece])):
            out[row, piece] = values.double().cpu()
    return out


def scores(model: FlatModel, outputs: Tensor, x: Tensor, y: Tensor) -> Iterator[Tensor]:
    """What is summed of each sample [B], row by row of `Sums`."""
    task = model.task
    yield task.scores(outputs, x, y)
    yield task.losses(outputs, x, y) * task.units(x, y)
    for metric in model.metrics:
        yield metric.scores(outputs, x, y)


def no_sums(model: FlatModel, parts: Iterable[str], clients: int) -> Sums:
    """Sums of so many clients, to be added to."""
    return {name: np.zeros((model.scored, clients)) for name in parts}


def in_order(parts: Iterable[str]) -> list[str]:
    """Names of parts in the order in which the batches of an evaluation follow one another, however they are given:
    train, validation, test, and after them the periods by number."""

    def place(name: str) -> tuple[int, int]:
        number = name.rpartition("-")[2]
        return PARTS.index(name) if name in PARTS else len(PARTS), int(number) if number.isdecimal() else 0

    return sorted(parts, key=place)


@torch.no_grad()
def evaluate_global(model: FlatModel, vector: Tensor, parts: Mapping[str, DevicePart], collective: Collective) -> Sums:
    """One model on every sample of the parts; batches are dealt to ranks in turn."""
    sums: Sums = {}
    for name, part in parts.items():
        total, size = len(part.y), batch(part.x)
        found = torch.zeros(model.scored, total, dtype=torch.float64)
        for begin in range(collective.rank * size, total, collective.world * size):
            piece = slice(begin, min(begin + size, total))
            found[:, piece] = sample_scores(model, vector, part.x[piece], part.y[piece])
        sums[name] = client_sums(collective.add_up(found), part.offsets)
    return sums


def client_sums(scores: Tensor, offsets: np.ndarray) -> np.ndarray:
    """Sums over each client's samples: [R, n] → [R, M], 0 for a client without samples."""
    return np.array([scores[:, begin:end].sum(1).numpy() for begin, end in pairwise(offsets)]).T


def chunks(dealt: Dealt, in_blocks: bool = False, size: int = CHUNK_CLIENTS) -> Iterator[np.ndarray]:
    """This rank's clients, `size` at a time, as ids; `in_blocks`: none beside those of another block."""
    own, block = dealt.clients[dealt.local], dealt.block[dealt.local]
    ends = np.flatnonzero(np.diff(block)) + 1 if in_blocks else np.zeros(0, np.int64)
    for piece in np.split(own, ends):
        for begin in range(0, len(piece), size):
            yield piece[begin : begin + size]


def fill_from_global(rows: Tensor, places: np.ndarray, theta: Tensor, shared: Sums, own: Sums) -> np.ndarray:
    """Give personal models [C, P] that are the global one, byte for byte, its scores: the columns `places` of `own`.

    Returns a mask [C] of the other models, which are to be scored.
    """
    same = (rows == theta).all(1).cpu().numpy()
    for name, scores in shared.items():
        own[name][:, places[same]] = scores[:, places[same]]
    return ~same


@torch.no_grad()
def evaluate_rows(
    model: FlatModel, rows: Tensor, clients: np.ndarray, parts: Mapping[str, DevicePart], sums: Sums
) -> None:
    """Add each client's own model's scores to `sums`: rows [C, P] for `clients` [C].

    A client's samples are scored in batches that run over all of `parts`, which is why their order is fixed.
    """
    names = in_order(parts)
    for row, client in zip(rows, clients.tolist(), strict=True):
        pieces = [parts[name].client(client) for name in names]
        x, y = torch.cat([x for x, _ in pieces]), torch.cat([y for _, y in pieces])
        found = sample_scores(model, row, x, y)
        begin = 0
        for name, (_, part_y) in zip(names, pieces, strict=True):
            sums[name][:, client] = found[:, begin : begin + len(part_y)].sum(1).numpy()
            begin += len(part_y)


def units(task: Task, part: DevicePart, metrics: Sequence[Metric] = ()) -> np.ndarray:
    """How often the task and each metric judge each client in this part, by samples or by words: [1 + K, M]."""
    found = [judge.units(part.x, part.y).double().cpu() for judge in (task, *metrics)]
    return client_sums(torch.stack(found), part.offsets)


def summary(sums: np.ndarray, times: np.ndarray, task: Task, metrics: Sequence[Metric] = ()) -> dict[str, Any]:
    """Figures over clients with samples, from per-client sums [2 + K, M] and `units` [1 + K, M].

    The task's metric over all samples; `client_mean`, `worst_tenth` (mean of the worst 10 % of clients, at least one),
    `p10` and `std` over clients' own figures; mean `loss` over samples; each further metric over all that it counts.
    """
    sizes, *others = np.atleast_2d(times)
    has = sizes > 0
    if not has.any():
        return {}
    metric = task.metric
    own = metric.of(sums[0][has], sizes[has])
    worst = np.sort(own) if metric.higher_is_better else -np.sort(-own)
    with np.errstate(invalid="ignore"):  # the figures of a diverged run are infinite
        return {
            metric.name: float(metric.of(sums[0].sum(), sizes.sum())),
            "loss": float(sums[1].sum() / sizes.sum()),
            "client_mean": float(own.mean()),
            "worst_tenth": float(worst[: max(1, round(0.1 * len(own)))].mean()),
            "p10": float(np.quantile(own, 0.1 if metric.higher_is_better else 0.9)),
            "std": float(own.std()),
            **{
                metric.name: float(metric.of(total.sum(), count.sum()))
                for metric, total, count in zip(metrics, sums[2:], others, strict=True)
                if count.any()
            },
        }
