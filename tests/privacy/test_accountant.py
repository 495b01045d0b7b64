"""The reported epsilon against an accountant of our own: closed forms and plain integration, nothing of dp-accounting.

Rényi divergence of the Poisson-subsampled Gaussian (Mironov, Talwar, Zhang: "Rényi Differential Privacy of the Sampled
Gaussian Mechanism", 2019, section 3.3), turned into (epsilon, delta) as by Canonne, Kamath
and Steinke (2020, Proposition 12).
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate
from scipy.special import gammaln, logsumexp

from selffl_cli.config.experiment import TrainConfig
from selffl_cli.privacy.budget import Budget

DELTA = 1e-5
CASES = [  # noise, q, rounds: usual ones, little noise, much noise, and everybody in every round
    (1.0, 0.01, 1000), (0.7, 0.01, 1000), (1.0, 0.1, 100), (0.5, 0.05, 10), (2.0, 0.3, 300), (8.0, 0.5, 50),
    (3.0, 1.0, 20), (20.0, 0.02, 5),
]  # fmt: skip


def by_binomials(noise: float, q: float, order: int) -> float:
    """Rényi divergence of one round at a whole order: a finite sum over k of the order's clients drawn."""
    k = np.arange(order + 1)
    choose = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    stays = (order - k) * math.log1p(-q) if q < 1 else np.where(k < order, -np.inf, 0.0)
    terms = choose + k * math.log(q) + stays + k * (k - 1) / (2 * noise**2)
    return float(logsumexp(terms)) / (order - 1)


def by_integration(noise: float, q: float, order: float) -> float:
    """The same at any order: log E[(1 - q + q N(1, s²)(x) / N(0, s²)(x))^order] over x of N(0, s²)."""

    def log_density(x: np.ndarray | float) -> np.ndarray:
        ratio = np.logaddexp(np.log1p(-q) if q < 1 else -np.inf, math.log(q) + (2 * np.asarray(x) - 1) / (2 * noise**2))
        return order * ratio - np.asarray(x) ** 2 / (2 * noise**2) - 0.5 * math.log(2 * math.pi * noise**2)

    low, high = -12 * noise, order + 12 * noise  # the mass lies between 0 and the order
    grid = log_density(np.linspace(low, high, 20_001))
    top = float(grid.max())
    total = integrate.simpson(np.exp(grid - top), dx=(high - low) / 20_000)
    return (top + math.log(total)) / (order - 1)


def our_epsilon(noise: float, q: float, rounds: int, whole: bool) -> float:
    """The least epsilon over orders; whole ones alone give an upper bound on what all orders give."""
    orders = [*range(2, 300), *(2**k for k in range(9, 13))] if whole else np.linspace(1.05, 64, 1260).tolist()
    divergence = by_binomials if whole else by_integration
    return min(
        rounds * divergence(noise, q, order) + math.log1p(-1 / order) - math.log(DELTA * order) / (order - 1)
        for order in orders
    )


def reported(noise: float, q: float, rounds: int, **options: float) -> float:
    pytest.importorskip("dp_accounting")
    extra = "".join(f",{key}={value}" for key, value in options.items())
    train = TrainConfig(rounds=rounds, sampler=f"poisson:q={q}", privacy=f"user:clip=0.3,noise={noise}{extra}")
    return Budget(train, "fedavg", 0, np.full(40, 10), None).spent(rounds)["epsilon"]


@pytest.mark.parametrize(("noise", "q", "rounds"), CASES)
def test_both_forms_of_the_divergence_agree(noise: float, q: float, rounds: int) -> None:
    for order in (2, 3, 7, 20):
        assert by_integration(noise, q, order) == pytest.approx(by_binomials(noise, q, order), rel=1e-6, abs=1e-12)


@pytest.mark.parametrize(("noise", "q", "rounds"), CASES)
def test_the_reported_epsilon_is_that_of_an_accountant_of_our_own(noise: float, q: float, rounds: int) -> None:
    """Never below ours at all orders and at most 4 % above (dp-accounting bounds broken orders a little too high), and
    never above the bound of whole orders, which both know exactly."""
    found = reported(noise, q, rounds)
    bound = our_epsilon(noise, q, rounds, whole=True)
    best = min(bound, our_epsilon(noise, q, rounds, whole=False))
    assert best * (1 - 1e-3) <= found <= min(best * 1.04, bound * (1 + 1e-6))
    assert reported(noise, q, rounds, adaptive=0.5) == pytest.approx(found), "a clip that adapts costs no more"
