"""Which clients take part in a round: uniform, or by how active they are.

A client's activity is its number of available training samples, as in "Learnings from Federated Learning in the Real
World" (ICASSP 2022); the article's exact list of strategies is not public, so the family here is ours. Draws depend on
(seed, round) alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field

from .engine.batches import generator, sample_clients
from .errors import UsageError
from .spec import full_spec, read_spec
from .validation import Strict

NEVER = 1e-12  # a chance below this is none: over 10^6 rounds of 10^3 draws it would not come up once in 1,000 runs


class Sampler(Strict):
    """Draws the clients of a round one after another, each draw with the chances p_k."""

    def weights(self, sizes: np.ndarray) -> np.ndarray:
        """Unnormalised chance of each client in one draw [M], from the training samples of each [M]."""
        return np.ones(len(sizes))

    def chances(self, sizes: np.ndarray) -> np.ndarray:
        """p_k of each client in one draw [M]; all zero when nobody can be drawn."""
        weights = self.weights(sizes)
        chances = weights / weights.sum() if weights.sum() > 0 else np.zeros(len(sizes))
        return np.where(chances < NEVER, 0.0, chances)


class Uniform(Sampler):
    """Every client alike."""


class Poisson(Sampler):
    """Every client for itself with probability q, so that a round's number of clients varies and may be zero."""

    q: float = Field(gt=0, le=1)


class Activity(Sampler):
    """p_k proportional to n_k^gamma, mixed with a share `mix` of uniform draws."""

    gamma: float = Field(1.0, ge=0, le=1000)
    mix: float = Field(0.0, ge=0, le=1)

    def weights(self, sizes: np.ndarray) -> np.ndarray:
        active = sizes > 0
        if not active.any():
            return np.zeros(len(sizes))
        logs = self.gamma * np.log(np.maximum(sizes, 1))  # a power of a large size would overflow
        powers = np.where(active, np.exp(logs - logs[active].max()), 0.0)
        return (1 - self.mix) * powers / powers.sum() + self.mix * active / active.sum()


class Log(Sampler):
    """p_k proportional to log(1 + n_k)."""

    def weights(self, sizes: np.ndarray) -> np.ndarray:
        return np.log1p(sizes)


class Top(Sampler):
    """Uniform among the share `fraction` of clients with the most samples; ties go to the lower index."""

    fraction: float = Field(gt=0, le=1)

    def weights(self, sizes: np.ndarray) -> np.ndarray:
        count = max(1, int(np.ceil(self.fraction * len(sizes) - 1e-9)))
        weights = np.zeros(len(sizes))
        weights[np.argsort(-sizes, kind="stable")[:count]] = 1.0
        return np.where(sizes > 0, weights, 0.0)


SAMPLERS: dict[str, type[Sampler]] = {
    "uniform": Uniform, "poisson": Poisson, "activity": Activity, "log": Log, "top": Top,
}  # fmt: skip


def sampler(spec: str) -> Sampler:
    """Read `activity:gamma=1,mix=0.1`; a UsageError names what is wrong."""
    return read_spec(spec, SAMPLERS, "sampler")[1]


def canonical(spec: str) -> str:
    """The spec with every default written out."""
    return full_spec(*read_spec(spec, SAMPLERS, "sampler"))


def new_clients(seed: int, share: float, clients: int) -> np.ndarray:
    """Ids of the clients held out of training, the same for every method of a seed; at least one always trains."""
    held = min(round(share * clients), clients - 1)
    return np.sort(generator(seed, "new-clients").choice(clients, held, replace=False))


def training_pool(seed: int, share: float, sizes: np.ndarray) -> np.ndarray:
    """Ids of the clients that may take part: not held out, and with a training sample; sizes [M]."""
    held = new_clients(seed, share, len(sizes)) if share else np.empty(0, np.int64)
    pool = np.setdiff1d(np.arange(len(sizes)), held)
    return pool[sizes[pool] > 0]


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
        raise UsageError(f"--sampler {spec}: selects nobody, since no client has a training sample")
    if isinstance(chosen, Activity) and able < min(size, int((sizes > 0).sum())):
        raise UsageError(
            f"--sampler {spec}: only {able} of {len(sizes)} clients can ever be drawn, a round takes {size}; lower "
            "gamma, or add mix=0.1"
        )
    if unbiased and able < len(sizes):
        raise UsageError(
            f"--sampler {spec}: {len(sizes) - able} of {len(sizes)} clients are never drawn, so no weighting is "
            "unbiased; use --weighting samples or equal, or another sampler"
        )
