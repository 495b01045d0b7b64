"""Which clients take part in a round: uniform, or by how active they are.

A client's activity is its number of available training samples, as in "Learnings from Federated Learning in the Real
World" (ICASSP 2022); the article's exact list of strategies is not public, so the family here is ours. Draws depend on
(seed, round) alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..config.sampler import Activity, Poisson, Sampler, Uniform, sampler
from ..draws import generator, sample_clients
from ..errors import UsageError


@dataclass(frozen=True)
class Chosen:
    """The clients of a round.

    `positions` in the pool, ascending, each once [C]; `ratio` [C]: how often each was drawn, over how often one
    expects it to be drawn. Its mean over rounds is 1 for every client that can be drawn at all.
    """

    positions: np.ndarray
    ratio: np.ndarray


def choose(sampler: Sampler, seed: int, round_: int, sizes: np.ndarray, size: int, replace: bool = False) -> Chosen:
    """`size` clients of a pool with `sizes` training samples each [M]; with `replace` a client may be drawn twice.

    Poisson sampling draws every client once and ignores `size`. Without replacement the ratio is not known in closed
    form for unequal chances, and is 1.
    """
    clients = len(sizes)
    if isinstance(sampler, Poisson):
        drawn = np.flatnonzero(generator(seed, "clients-poisson", round_).random(clients) < sampler.q)
        return Chosen(drawn, np.full(len(drawn), 1 / sampler.q))
    if isinstance(sampler, Uniform) and not replace:
        drawn = sample_clients(seed, round_, clients, size)
        return Chosen(drawn, np.ones(len(drawn)))
    chances = sampler.chances(sizes)
    able = int((chances > 0).sum())
    rng = generator(seed, "clients-drawn", round_)
    if replace:
        drawn, times = np.unique(rng.choice(clients, size, p=chances / chances.sum()), return_counts=True)
        return Chosen(drawn, times / (size * chances[drawn]))
    drawn = np.sort(rng.choice(clients, min(size, able), replace=False, p=chances / chances.sum()))
    return Chosen(drawn, np.ones(len(drawn)))


def check(spec: str, sizes: np.ndarray, size: int, unbiased: bool) -> None:
    """UsageError when this sampler cannot fill a round from clients of these sizes [M]."""
    chosen = sampler(spec)
    able = int((chosen.chances(sizes) > 0).sum())
    if able == 0:
        raise UsageError(f"train.sampler = {spec}: selects nobody, since no client has a training sample")
    if isinstance(chosen, Activity) and able < min(size, int((sizes > 0).sum())):
        raise UsageError(
            f"train.sampler = {spec}: only {able} of {len(sizes)} clients can ever be drawn, a round takes {size}; "
            "lower gamma, or add mix=0.1"
        )
    if unbiased and able < len(sizes):
        raise UsageError(
            f"train.sampler = {spec}: {len(sizes) - able} of {len(sizes)} clients are never drawn, so no weighting is "
            "unbiased; use --set train.weighting=samples or equal, or another sampler"
        )
