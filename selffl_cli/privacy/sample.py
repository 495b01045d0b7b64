"""eDP-SGD: gradients of micro-batches, each clipped as a whole, with Gaussian noise (ICASSP 2022).

Clipping a micro-batch costs one backward pass for all of its samples, where DP-SGD takes one a sample. The price: one
sample moves a clipped mean by up to 2 C and not C, so the honest epsilon is that of half the noise multiplier.
"""

from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from torch import Tensor

from ..config.privacy import Sample
from ..draws import generator
from ..engine.flat import DevicePart, FlatModel


class PrivateGradient:
    """Noisy gradients of one round. Batches are Poisson samples of a client's data, as the accountant assumes."""

    def __init__(self, options: Sample, noise: float, seed: int, round_: int, batch_size: int | None) -> None:
        self.options, self.seed, self.round, self.batch_size = options, seed, round_, batch_size
        self.noise = noise * options.decay ** (round_ - 1)
        self.asked: Counter[tuple[str, int, int]] = Counter()  # a second look at a batch has noise of its own

    def __call__(
        self, model: FlatModel, data: DevicePart, vector: Tensor, client: int, stream: str, step: int
    ) -> tuple[Tensor, Tensor, int]:
        """Gradient at `vector` [P], the mean loss of the samples drawn (the simulator's own), and their number."""
        size = int(data.sizes[client])
        batch = size if self.batch_size is None else min(self.batch_size, size)
        groups = max(1, round(batch / self.options.micro_batch))
        rng = generator(self.seed, f"private-{stream}", self.round, client, step)
        drawn = np.flatnonzero(rng.random(size) < batch / size)
        group = rng.integers(0, groups, len(drawn))  # each sample for itself, so that no other one moves
        total, loss = torch.zeros_like(vector), torch.zeros((), dtype=vector.dtype, device=vector.device)
        for number in range(groups):
            rows = drawn[group == number]
            if len(rows):
                gradient, mean = model.gradient(vector, *data.client(client, rows))
                total += self.clipped(model, gradient)
                loss += mean * len(rows) / len(drawn)
        self.asked[stream, client, step] += 1
        look = self.asked[stream, client, step]
        noise = generator(self.seed, f"privacy-noise-{stream}-{look}", self.round, client, step)
        draw = torch.from_numpy(noise.standard_normal(vector.numel())).to(vector)
        return (total + draw * (self.noise * self.options.clip)) / groups, loss, len(drawn)

    def clipped(self, model: FlatModel, gradient: Tensor) -> Tensor:
        """The gradient [P] shortened to `clip`; with `layerwise` each of the L layers to clip / sqrt(L)."""
        if not self.options.layerwise:
            return gradient * (self.options.clip / gradient.norm().clamp_min(1e-30)).clamp_max(1.0)
        pieces = gradient.split([parameter.numel() for parameter in model.parameters])
        most = self.options.clip / len(pieces) ** 0.5
        return torch.cat([piece * (most / piece.norm().clamp_min(1e-30)).clamp_max(1.0) for piece in pieces])
