"""What forked ranks of one machine exchange: tensors through shared memory, turns through sockets.

gloo does the same between processes that share nothing. On two cores it took 25 times as long for a few figures and 4
times for a model's sums (benchmarks/exchange.py), waited for ever for a killed peer in one of 150 kills, and its store
asks the name server about 127.0.0.1, 5 s for every answer that is lost. A socket between two processes is closed by the
kernel the moment one of them ends, however it ends.
"""

from __future__ import annotations

import mmap
import socket

import torch
from torch import Tensor

SLOT = 2**20  # bytes that a rank shows at a time: copies stay in the cores' caches


class PeerGone(Exception):
    """A rank has ended while others still wait for it."""


class Links:
    """One rank's links to the others; made before the fork, by `claim` each rank then takes its own ends.

    Every exchange is: show your own piece, meet, read the others'. Pieces alternate between two halves of the memory,
    so that one meeting is enough: nobody shows a third piece before all have read the first.
    """

    def __init__(self, world: int) -> None:
        self.rank, self.world, self.turn = 0, world, 0
        self.memory = torch.frombuffer(mmap.mmap(-1, 2 * world * SLOT), dtype=torch.uint8).view(2, world, SLOT)
        self.pairs = [socket.socketpair() for _ in range(1, world)]
        self.ends: list[socket.socket] = []

    def claim(self, rank: int) -> None:
        """Keep this rank's ends, close the others: only then is an end closed when its rank is gone."""
        self.rank = rank
        for other, (zero, end) in enumerate(self.pairs, 1):
            kept = zero if rank == 0 else end if rank == other else None
            for one in (zero, end):
                if one is kept:
                    self.ends.append(one)
                else:
                    one.close()

    def close(self) -> None:
        for end in self.ends:
            end.close()

    def meet(self) -> None:
        """Wait until every rank is here; PeerGone when one never will be."""
        try:
            if self.rank:
                self.ends[0].sendall(b".")
            for end in self.ends:
                if not end.recv(1):
                    raise PeerGone
            if not self.rank:
                for end in self.ends:
                    end.sendall(b".")
        except ConnectionError:
            raise PeerGone from None

    def add_up(self, values: Tensor) -> None:
        """Sum of integers over ranks, in place, on every rank; on the CPU, contiguous."""
        for piece in values.view(-1).split(SLOT // values.element_size()):
            shown = self._show(piece)
            for rank in range(self.world):
                if rank != self.rank:
                    piece += shown[rank]

    def broadcast(self, values: Tensor, source: int) -> None:
        """The values of rank `source`, in place, on every rank; on the CPU, contiguous."""
        for piece in values.view(-1).split(SLOT // values.element_size()):
            shown = self._show(piece, self.rank == source)
            if self.rank != source:
                piece.copy_(shown[source])

    def _show(self, piece: Tensor, shows: bool = True) -> Tensor:
        """Every rank's piece [world, n] of this turn, after all that do show theirs have."""
        slots = self.memory[self.turn].view(piece.dtype)[:, : len(piece)]
        if shows:
            slots[self.rank] = piece
        self.turn = 1 - self.turn
        self.meet()
        return slots
