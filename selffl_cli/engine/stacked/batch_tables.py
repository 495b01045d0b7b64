"""The batches of many clients as index tables: drawn on the host, gathered from on the device.

A table holds what `Batches.indices` gives for each client and step, side by side. Short batches are filled up
with their own first sample, which counts nothing: a padded entry can spoil no client that is sound.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..batches import Batches
from ..flat import DevicePart


@dataclass(frozen=True)
class BatchTable:
    """Batches of K clients over S steps; S is 1 where each client's batch is the same at every step."""

    index: Tensor  # rows of the part's arrays: int64 [S, K, B]
    share: Tensor  # what each sample counts in its batch's loss, 0 for padding [S, K, B]
    counts: np.ndarray  # samples of each batch [S, K], on the host

    def at(self, step: int, width: int) -> tuple[Tensor, Tensor]:
        """Index and share of the first `width` clients' batches at `step`: [width, B] each."""
        step = min(step, len(self.index) - 1)
        return self.index[step, :width], self.share[step, :width]

    def samples(self, step: int, width: int) -> np.ndarray:
        """Samples in each of the first `width` clients' batches at `step`."""
        return self.counts[min(step, len(self.counts) - 1), :width]


def batch_width(batches: Batches, clients: np.ndarray) -> int:
    """B: the batch size, or the largest client's samples where that is less (or batches are full)."""
    if batches.batch_size is None:
        return max(1, int(batches.sizes[clients].max(initial=1)))
    return max(1, min(batches.batch_size, int(batches.sizes.max(initial=1))))


def drawn(
    batches: Batches, data: DevicePart, stream: str, clients: np.ndarray, steps: np.ndarray, first: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Batches of `stream` for `clients` [K], steps `first` to `first + steps[i]` of client i.

    Rows of the part's arrays [S, K, B], short batches filled up, and the samples of each batch [S, K].
    """
    width = batch_width(batches, clients)
    sizes = batches.sizes[clients]
    same = batches.batch_size is None or bool((sizes <= batches.batch_size).all())
    length = 1 if same else max(1, int(steps.max(initial=1)))
    index = np.zeros((length, len(clients), width), np.int64)
    counts = np.zeros((length, len(clients)), np.int64)
    for row, (client, size, number) in enumerate(zip(clients.tolist(), sizes.tolist(), steps.tolist(), strict=True)):
        begin = min(int(data.offsets[client]), len(data.y) - 1)  # the last client may have no samples
        if batches.batch_size is None or size <= batches.batch_size:
            whole = begin + batches.whole(client)
            index[:, row, :size], index[:, row, size:] = whole, whole[0] if size else begin
            counts[:, row] = size
            continue
        for step in range(min(number, length)):
            own = batches.indices(stream, client, first + step)
            assert own is not None
            index[step, row, : len(own)] = begin + own
            index[step, row, len(own) :], counts[step, row] = begin + own[0], len(own)
    return index, counts


def weighed(index: np.ndarray, counts: np.ndarray, mean: bool, dtype: torch.dtype, place: torch.device) -> BatchTable:
    """Drawn batches as a table on a device, with shares of type `dtype`.

    `mean`: a batch's loss is the mean over its samples, else their sum.
    """
    share = (np.arange(index.shape[-1]) < counts[..., None]) / (np.maximum(counts, 1)[..., None] if mean else 1)
    host = torch.from_numpy(index), torch.from_numpy(share).to(dtype)
    if place.type == "cuda":  # pinned, so that the copies wait for nothing
        host = host[0].pin_memory(), host[1].pin_memory()
    return BatchTable(host[0].to(place, non_blocking=True), host[1].to(place, non_blocking=True), counts)
