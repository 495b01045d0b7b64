"""DP-FedAvg: clipped updates, summed, with Gaussian noise, over a fixed denominator (McMahan et al., ICLR 2018).

With `adaptive` the clipping norm follows a quantile of the update norms, which is itself found privately (Andrew et
al., NeurIPS 2021). Losses and accuracies in the logs are the simulator's own: no client sends them, no budget covers
them.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from ..config.privacy import User
from ..draws import generator
from ..engine.cohort import Aggregation, Cohort, Weighting
from ..errors import UsageError

QUANTILE_RATE = 0.2  # of the clip's geometric update (Andrew et al. 2021, section 3)
QUANTILE_NOISE = 20  # noise of the count of small updates: expected clients / this (the same)


def canary(seed: int, index: int, size: int) -> np.ndarray:
    """Direction of unit length that canary number `index` sends, float64 [size]."""
    direction = generator(seed, "canary", index).standard_normal(size)
    return direction / np.linalg.norm(direction)


class PrivateAverage(Aggregation):
    """theta + (sum of clipped updates + N(0, (noise clip)²)) / (q M), the same bits on every rank."""

    def __init__(self, options: User, noise: float, q: float, clients: int, seed: int, clip: float) -> None:
        """noise: multiplier that the accountant was told; clip: norm of this round; clients M that may be drawn."""
        self.options, self.q, self.clients, self.seed, self.clip = options, q, clients, seed, clip
        self.next_clip = clip
        self.noise, self.count_noise = split_noise(options, noise, q * clients)

    def __call__(self, cohort: Cohort, theta: Tensor, end: Tensor, weighting: Weighting) -> Tensor:
        expected = self.q * self.clients
        change = end - theta
        norms = change.norm(dim=1)
        scale = (self.clip / norms.clamp_min(1e-30)).clamp_max(1.0)
        total = cohort.sum(change, scale) + self._canaries(cohort, theta)
        draw = generator(self.seed, "privacy-noise", cohort.round).standard_normal(theta.numel())
        total = total + torch.from_numpy(draw).to(theta) * (self.noise * self.clip)
        small = cohort.sum((norms <= self.clip).double())
        if self.options.adaptive is not None:
            counted = float(generator(self.seed, "privacy-quantile", cohort.round).standard_normal())
            share = (float(small) + self.count_noise * counted) / expected
            self.next_clip = self.clip * math.exp(-QUANTILE_RATE * (min(max(share, 0.0), 1.0) - self.options.adaptive))
        cohort.reveal(clip=self.clip, clipped=1 - float(small) / max(cohort.size, 1))
        return theta + total / expected

    def _canaries(self, cohort: Cohort, theta: Tensor) -> Tensor:
        """Sum of what the canaries drawn in this round send: clip times their direction [P]."""
        total = torch.zeros_like(theta)
        if self.options.canaries:
            chances = generator(self.seed, "canaries-drawn", cohort.round).random(self.options.canaries)
            for index in np.flatnonzero(chances < self.q):
                total += torch.from_numpy(canary(self.seed, int(index), theta.numel())).to(theta) * self.clip
        return total


def split_noise(options: User, noise: float, expected: float) -> tuple[float, float]:
    """Noise multiplier of the updates, and noise of the count of small updates, which together are worth `noise`.

    The count, moved by a half, has sensitivity 1/2; two Gaussians of one sample compose to noise^-2 =
    updates^-2 + (2 count)^-2 (Andrew et al. 2021, theorem 1).
    """
    if options.adaptive is None or noise == 0:
        return noise, 0.0
    count = expected / QUANTILE_NOISE
    if 2 * count <= noise:
        raise UsageError(
            f"train.privacy user: adaptive clipping needs more than {10 * noise:.0f} expected clients a round at noise "
            f"{noise:g}, there are {expected:.0f}; raise q, or leave adaptive out"
        )
    return (noise**-2 - (2 * count) ** -2) ** -0.5, count


def canary_cosines(seed: int, canaries: int, change: Tensor) -> list[float]:
    """Cosine of the whole training's change of the global model [P] with each canary's direction."""
    whole = change.double().cpu().numpy()
    length = float(np.linalg.norm(whole))
    return [float(canary(seed, index, len(whole)) @ whole) / max(length, 1e-300) for index in range(canaries)]
