"""How many samples each client gets. No client is empty, and sizes sum to the samples that there are."""

from __future__ import annotations

import math

import numpy as np

from selffl_cli.errors import UsageError


def apportion(total: int, weights: np.ndarray) -> np.ndarray:
    """`total` in whole numbers proportional to `weights` [M] (largest remainders; ties to the first)."""
    exact = total * (weights / weights.sum())
    shares = np.floor(exact).astype(np.int64)
    order = np.argsort(shares - exact, kind="stable")
    missing = int(total - shares.sum())
    shares[order[:missing]] += 1  # rounding errors of `exact` are far below one, so 0 <= missing <= M
    return shares


def check_sizes(samples: int, clients: int, minimum: int) -> int:
    """Samples left when every client has its minimum."""
    if clients > samples:
        raise UsageError(f"{clients} clients, but only {samples} samples; ask for fewer clients")
    if clients * minimum > samples:
        raise UsageError(
            f"{clients} clients with at least {minimum} samples each need {clients * minimum}, "
            f"there are {samples}; lower min or the number of clients"
        )
    return samples - clients * minimum


def spread_sizes(
    samples: int, clients: int, rng: np.random.Generator, spread: float = 0.0, minimum: int = 1
) -> np.ndarray:
    """Sizes [clients] whose standard deviation is `spread` times their mean, none below `minimum`.

    0 gives sizes that differ by one at most. Otherwise what is above the minimum is log-normal, scaled so
    that the sizes drawn have this spread (to rounding), not only the distribution they come from.
    """
    excess = check_sizes(samples, clients, minimum)
    if spread == 0 or clients == 1:
        return samples // clients + (rng.permutation(clients) < samples % clients).astype(np.int64)
    normal = rng.standard_normal(clients)
    target = spread * samples / max(excess, 1e-300)  # coefficient of variation of what is above the minimum
    if target > 0.95 * math.sqrt(clients - 1):  # sqrt(M - 1) is reached when one client has everything
        limit = 0.95 * math.sqrt(clients - 1) * excess / samples
        raise UsageError(f"spread={spread:g}: {clients} clients can have {limit:.3g} at most; lower spread or min")

    def weights(sigma: float) -> np.ndarray:
        return np.exp(sigma * (normal - normal.max()))

    low, high = 0.0, 1.0
    while _variation(weights(high)) < target and high < 1e9:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _variation(weights(middle)) < target else (low, middle)
    return minimum + apportion(excess, weights(high))


def _variation(values: np.ndarray) -> float:
    return float(values.std() / values.mean())


def power_law_sizes(
    samples: int, clients: int, rng: np.random.Generator, exponent: float, minimum: int = 1
) -> np.ndarray:
    """Sizes [clients]: the r-th largest is `minimum` and a share proportional to r^-exponent; order drawn."""
    excess = check_sizes(samples, clients, minimum)
    return minimum + apportion(excess, (1.0 + rng.permutation(clients)) ** -exponent)


def dirichlet_sizes(samples: int, clients: int, rng: np.random.Generator, alpha: float, minimum: int = 1) -> np.ndarray:
    """Sizes [clients]: what is above `minimum` is shared out by one draw of a symmetric Dir(alpha)."""
    excess = check_sizes(samples, clients, minimum)
    return minimum + apportion(excess, draw_dirichlet(np.full(clients, alpha), rng))


def draw_dirichlet(concentration: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Dir(concentration); where that is so small that it underflows, its limit: everything on one entry."""
    mix = rng.dirichlet(concentration)
    if np.isfinite(mix).all() and mix.sum() > 0.5:
        return mix
    return rng.multinomial(1, concentration / concentration.sum()).astype(float)
