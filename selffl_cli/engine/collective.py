"""Ranks that train one cohort together: the two exchanges they need, over torch.distributed or alone."""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

# Sums over clients are taken block by block, each block in client order, the blocks in block order. The blocks depend
# on the cohort alone, so a sum is the same to the bit for any number of ranks. 16 blocks feed up to 16 ranks evenly.
BLOCKS = 16


class Collective:
    """One process, or one rank of several (`torch.distributed` must then be initialised)."""

    def __init__(self, rank: int = 0, world: int = 1) -> None:
        self.rank, self.world = rank, world

    def add_up(self, values: Tensor) -> Tensor:
        """Sum over ranks. Exact whenever at most one rank gives a non-zero value for each entry."""
        if self.world > 1:
            dist.all_reduce(values)
        return values

    def broadcast(self, values: Tensor) -> Tensor:
        """Rank 0's values, on every rank."""
        if self.world > 1:
            dist.broadcast(values, src=0)
        return values


def deal(work: np.ndarray, parts: int) -> np.ndarray:
    """Deal items into `parts` of nearly equal total work, heaviest first: the part of each item [len(work)]."""
    part = np.zeros(len(work), dtype=np.int64)
    load = np.zeros(parts)
    count = np.zeros(parts)
    for item in np.argsort(-work, kind="stable"):
        best = int(np.lexsort((count, load))[0])
        part[item] = best
        load[best] += work[item]
        count[best] += 1
    return part


class Dealt:
    """A set of clients dealt into blocks by work, and the blocks to ranks.

    clients: [C] ids in block order, the same on every rank; local: this rank's positions in them, ascending.
    """

    def __init__(self, clients: np.ndarray, work: np.ndarray, collective: Collective) -> None:
        self.collective = collective
        self.num_blocks = max(1, min(BLOCKS, len(clients)))
        block = deal(work, self.num_blocks)
        order = np.argsort(block, kind="stable")
        self.clients, self.block = clients[order], block[order]
        block_work = np.bincount(block, work, self.num_blocks)
        owner = deal(block_work, collective.world)[self.block]
        self.local = np.flatnonzero(owner == collective.rank)

    def sum(self, values: Tensor, weights: Tensor | None = None) -> Tensor:
        """Weighted sum over all clients of `values` [C_local, …], the same bits on every rank and for any world."""
        sums = values.new_zeros((self.num_blocks, *values.shape[1:]))
        for row, position in enumerate(self.local):
            target = sums[self.block[position]]
            if weights is None:
                target.add_(values[row])
            else:
                target.add_(values[row] * weights[row])
        sums = self.collective.add_up(sums)
        total = sums[0].clone()
        for part in sums[1:]:
            total.add_(part)
        return total

    def gather(self, values: Tensor) -> Tensor:
        """Every client's row of `values` [C_local, …] → [C, …] in the order of `clients`, on every rank."""
        everyone = values.new_zeros((len(self.clients), *values.shape[1:]))
        everyone[torch.as_tensor(self.local, device=values.device)] = values
        return self.collective.add_up(everyone)
