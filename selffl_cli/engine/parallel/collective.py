"""Ranks that train one cohort together: the few exchanges they need, over shared memory or torch.distributed."""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from ..store import ClientStore
from .shared_memory import Links

# Sums over clients are taken block by block, each block in client order, the blocks in block order. The blocks depend
# on the cohort alone, so a sum is the same to the bit for any number of ranks. 16 blocks feed up to 16 ranks evenly.
BLOCKS = 16
PIECE = 2**26  # bytes of client rows in one message
INTEGER = {4: torch.int32, 8: torch.int64}  # by bytes


class Collective:
    """One process, or one rank of several.

    With `links` the ranks were forked and write the same client rows. Without, `torch.distributed` must be initialised;
    each rank then holds a copy of its own, and `share_rows` keeps the copies equal.
    """

    def __init__(self, rank: int = 0, world: int = 1, links: Links | None = None) -> None:
        self.rank, self.world, self.links = rank, world, links
        self.shared = world == 1 or links is not None

    def add_up(self, values: Tensor) -> Tensor:
        """Sum of integers over ranks. Of floating numbers at most one rank may give a non-zero value for each entry.

        That value then arrives bit by bit (a sum would turn -0.0 into 0.0).
        """
        if self.world > 1:
            integers = values.view(INTEGER[values.element_size()]) if values.is_floating_point() else values
            self.links.add_up(integers) if self.links else dist.all_reduce(integers)
        return values

    def broadcast(self, values: Tensor, source: int = 0) -> Tensor:
        """The values of rank `source`, on every rank."""
        if self.world > 1:
            self.links.broadcast(values, source) if self.links else dist.broadcast(values, src=source)
        return values

    def share_rows(self, store: ClientStore, clients: Tensor, source: int = 0) -> None:
        """Give every rank the rows that rank `source` has of `clients`; ids on the CPU, the same on every rank."""
        for name, initial in store.initial.items():
            for ids in clients.split(max(1, PIECE // max(1, initial.numel() * initial.element_size()))):
                has = self.broadcast(store.has(name, ids).cpu().to(torch.uint8), source) != 0
                rows = store.read(name, ids[has]).cpu()
                self.broadcast(rows, source)
                if self.rank != source:
                    store.write(name, ids[has], rows)


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

    clients: [C] ids in block order, the same on every rank; owner: [C] the rank that trains each of them; local: this
    rank's positions in them, ascending.
    `least`: clients that a block should have, where there are enough of them.
    """

    def __init__(self, clients: np.ndarray, work: np.ndarray, collective: Collective, least: int = 1) -> None:
        self.collective = collective
        self.num_blocks = max(1, min(BLOCKS, len(clients) // least))
        block = deal(work, self.num_blocks)
        order = np.argsort(block, kind="stable")
        self.clients, self.block = clients[order], block[order]
        block_work = np.bincount(block, work, self.num_blocks)
        self.owner = deal(block_work, collective.world)[self.block]  # the rank of each client
        self.local = np.flatnonzero(self.owner == collective.rank)

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

    def share_rows(self, store: ClientStore) -> None:
        """Give every rank what each rank wrote of its own clients; nothing to do where they share memory."""
        if self.collective.shared:
            return
        for rank in range(self.collective.world):
            self.collective.share_rows(store, torch.as_tensor(self.clients[self.owner == rank]), rank)

    def share_table(self, table: Tensor) -> None:
        """The same for the rows of a table [M, …] on the CPU."""
        if self.collective.shared:
            return
        for rank in range(self.collective.world):
            clients = torch.as_tensor(self.clients[self.owner == rank])
            for ids in clients.split(max(1, PIECE // max(1, table[0].numel() * table.element_size()))):
                table[ids] = self.collective.broadcast(table[ids], rank)
