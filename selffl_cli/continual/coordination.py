"""Memories by gradients: each client keeps the samples that weigh most when their gradients are made to cancel.

Client m, with gradients G_m of its n_m samples, finds x_m in [0, 1] with sum N that makes s_m = G_m' x_m as short as
possible (uncoordinated). Coordination then makes the *sum over clients* short: each iteration the clients send s_m, the
server answers with their mean, and each client draws its s_m to p_m = s_m - mean, which is the least change of all that
would bring the sum to zero. Neither step lets ‖sum_m s_m‖ rise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..engine.parallel.collective import Dealt
from .gradients import Gradients, LastLayer
from .relaxation import minimise

GRADIENT_BYTES = 256 * 2**20  # that a rank holds; those of further clients are computed anew when needed


@dataclass
class Choice:
    """What came of it: `kept`, positions of each own client's samples, ascending; `norms` ‖sum_m s_m‖ of the relaxed
    choice before the first and after each iteration, and `rounded`, that of the samples kept."""

    kept: list[np.ndarray]
    norms: list[float]
    rounded: float


class Clients:
    """The gradients of this rank's clients, at models that are given with their samples."""

    def __init__(self, layer: LastLayer, data: Sequence[tuple[Tensor, Tensor, Tensor]], unit: bool) -> None:
        """data: model [P], x and y [n, …] of each client."""
        self.layer, self.data = layer, data
        self.factors: list[Tensor | None] = [None] * len(data)
        self.held: dict[int, Gradients] = {}
        self.room = GRADIENT_BYTES
        self.grams = []
        for i in range(len(data)):
            gram = self.of(i).gram()
            if unit:
                lengths = gram.diagonal().clamp_min(0).sqrt()
                factor = torch.where(lengths > 0, 1 / lengths, 0.0)
                gram = gram * factor[:, None] * factor
                self.factors[i] = factor
                self.held.pop(i, None)
            self.grams.append(gram)

    def of(self, i: int) -> Gradients:
        if i in self.held:
            return self.held[i]
        found, factor = self.layer.gradients(*self.data[i]), self.factors[i]
        found = found if factor is None else found.scaled(factor)
        size = found.delta.nbytes + found.inputs.nbytes
        if factor is not None and size <= self.room:
            self.held[i], self.room = found, self.room - size
        return found

    def padded(self, width: int) -> tuple[Tensor, Tensor]:
        """Every G G' in one [C, width, width], and which entries are samples [C, width]."""
        device = self.layer.model.device
        gram = torch.zeros((len(self.data), width, width), dtype=torch.float64, device=device)
        mask = torch.zeros((len(self.data), width), dtype=torch.bool, device=device)
        for i, own in enumerate(self.grams):
            gram[i, : len(own), : len(own)], mask[i, : len(own)] = own, True
        return gram, mask

    def sums(self, x: Tensor) -> Tensor:
        """s_m = G_m' x_m of each client [C, K, H]."""
        rows = [self.of(i).sum(x[i, : len(gram)]) for i, gram in enumerate(self.grams)]
        return torch.stack(rows) if rows else x.new_zeros((0, *self.layer.shape), dtype=self.layer.model.dtype)

    def dots(self, vector: Tensor, width: int) -> Tensor:
        """G_m v of each client [C, width]."""
        out = torch.zeros((len(self.data), width), dtype=torch.float64, device=vector.device)
        for i, gram in enumerate(self.grams):
            out[i, : len(gram)] = self.of(i).dot(vector)
        return out


def choose(clients: Clients, dealt: Dealt, size: int, width: int, iterations: int) -> Choice:
    """`size` samples for each of this rank's clients; `width` is the most samples that a client of any rank has."""
    gram, mask = clients.padded(width)
    sizes = mask.sum(1).clamp_max(size).double()
    x = minimise(gram, torch.zeros_like(gram[:, 0]), sizes, mask)
    norms = []
    for iteration in range(iterations + 1):
        total = dealt.sum(clients.sums(x))
        norms.append(float(total.double().norm()))
        if iteration < iterations:
            mean = total / len(dealt.clients)
            target = (gram @ x[:, :, None])[:, :, 0] - clients.dots(mean, width)  # G p, since G s = G G' x
            x = minimise(gram, target, sizes, mask, start=x)
    kept = [largest(row[: len(own)], size) for row, own in zip(x, clients.grams, strict=True)]
    chosen = torch.zeros_like(x)
    for i, positions in enumerate(kept):
        chosen[i, torch.as_tensor(positions, device=x.device)] = 1
    return Choice(kept, norms, float(dealt.sum(clients.sums(chosen)).double().norm()))


def largest(x: Tensor, size: int) -> np.ndarray:
    """Positions of the `size` largest entries, ascending; of equal ones the first."""
    order = torch.argsort(x, descending=True, stable=True)[:size]
    return np.sort(order.cpu().numpy())
