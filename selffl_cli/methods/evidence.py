"""How much to personalise, from evidence: the sums, the EM for pi and the choices, as plain float64 arrays.

E_m[a] is the log likelihood of client m's held-out samples under the model that candidate a = (family, k, L) makes for
it. r_m is a pseudo-posterior: where several folds are read, their walks share samples, so that evidence is counted
too often.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

Form = Literal["pooled", "posterior", "own"]
EM_ROUNDS = 200
TIE = 1e-9  # sums of log likelihoods that differ by no more are equal
STANDARD_ERRORS = 2.0  # of gain that another form than `pooled` must show


def place(steps: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Index of the grid point that is nearest in ln(1 + l), a half downwards."""
    points = np.log1p(grid)
    return np.searchsorted((points[1:] + points[:-1]) / 2, np.log1p(steps) - 1e-12)


@dataclass(frozen=True)
class Candidates:
    """Candidates a = (family, k, L) as columns [A], and the grid of steps that amounts are rounded to [G]."""

    family: np.ndarray
    k: np.ndarray  # the prior's strength, in samples
    scale: np.ndarray  # L, steps
    grid: np.ndarray

    def __len__(self) -> int:
        return len(self.k)

    def places(self, samples: np.ndarray) -> np.ndarray:
        """l(k, L) = L ln(1 + n/k) for n `samples` [...], as places on the grid [..., A]."""
        return place(self.scale * np.log1p(samples[..., None] / self.k), self.grid)


def candidates(families: int, strengths: np.ndarray, grid: np.ndarray, samples: float) -> Candidates:
    """Every family with every k, and L such that a client of `samples` takes 1 to grid[-1] steps; and 0 steps once."""
    wanted = np.array([1.0]) if len(grid) < 2 else np.geomspace(1, grid[-1], 2 * (len(grid) - 2) + 1)
    k, steps = (values.ravel() for values in np.meshgrid(strengths, wanted, indexing="ij"))
    k, scale = np.append(strengths.max(), k), np.append(0.0, steps / np.log1p(samples / k))
    family = np.repeat(np.arange(families), len(k))
    return Candidates(family, np.tile(k, families), np.tile(scale, families), grid)


def best(sums: np.ndarray, steps: np.ndarray, k: np.ndarray) -> int:
    """The candidate with the largest sum [A]; of equal ones the one with the fewest steps, then with the largest k."""
    equal = np.flatnonzero(sums >= sums.max() - TIE)
    return int(equal[np.lexsort((-k[equal], steps[equal]))[0]])


def em(evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The shares pi [A] of the candidates in the population and each client's r_m [M, A], from E [M, A].

    r_m[a] is proportional to pi[a] exp(E_m[a]), pi the mean of the r_m; 200 rounds from equal shares.
    """
    likelihood = np.exp(evidence - evidence.max(1, keepdims=True))
    pi = np.full(evidence.shape[1], 1 / evidence.shape[1])
    for _ in range(EM_ROUNDS):
        pi = pi * (likelihood.T @ (1 / (likelihood @ pi))) / len(evidence)
    r = likelihood * pi
    return pi, r / r.sum(1, keepdims=True)


@dataclass(frozen=True)
class Amounts:
    """What clients walk: each one's family and place on the grid [M]."""

    family: np.ndarray
    place: np.ndarray


def choose(form: Form, evidence: np.ndarray, at: np.ndarray, options: Candidates) -> Amounts:
    """Each client's amount from E [M, A], where candidate a takes client m to place at[m, a] of the grid [M, A]."""
    everyone = np.arange(len(evidence))
    steps = options.grid[at]
    if form == "own":
        own = np.array([best(row, taken, options.k) for row, taken in zip(evidence, steps, strict=True)])
        return Amounts(options.family[own], at[everyone, own])
    if form == "pooled":
        one = best(evidence.sum(0), steps.sum(0), options.k)
        return Amounts(np.full(len(evidence), options.family[one]), at[:, one])
    _, r = em(evidence)
    return mean_amounts(r, at, options)


def mean_amounts(r: np.ndarray, at: np.ndarray, options: Candidates) -> Amounts:
    """The mean of ln(1 + l) under r_m within each client's most probable family, rounded to the grid."""
    weights = np.stack([r[:, options.family == f].sum(1) for f in range(int(options.family.max()) + 1)], 1)
    family = weights.argmax(1)
    within = r * (options.family == family[:, None])
    mean = (within * np.log1p(options.grid[at])).sum(1) / within.sum(1)
    return Amounts(family, place(np.expm1(mean), options.grid))


def preferred(gains: dict[Form, np.ndarray]) -> tuple[Form, dict[Form, tuple[float, float]]]:
    """The form to use, and of every other than `pooled` its mean gain a client over it and the standard error.

    gains: log likelihood over that of `pooled` [M] of samples that the form did not see. `pooled` is left for the
    largest gain above two standard errors alone.
    """
    found: dict[Form, tuple[float, float]] = {}
    for form, gain in gains.items():
        error = float(gain.std(ddof=1) / len(gain) ** 0.5) if len(gain) > 1 else np.inf
        found[form] = float(gain.mean()), error
    sure = {form: gain for form, (gain, error) in found.items() if gain > STANDARD_ERRORS * error}
    return max(sure, key=lambda form: sure[form]) if sure else "pooled", found


# log likelihoods [M, F, G] of a column of the evidence, and the training samples n' of the walk behind it [M]
Column = tuple[np.ndarray, np.ndarray]


def evidence_of(column: Column, options: Candidates) -> np.ndarray:
    """E of one column [M, A]."""
    likelihood, samples = column
    return likelihood[np.arange(len(samples))[:, None], options.family, options.places(samples)]


def scored(column: Column, amounts: Amounts) -> np.ndarray:
    """The column's log likelihoods at these amounts [M]."""
    return column[0][np.arange(len(amounts.place)), amounts.family, amounts.place]


def nested_gains(
    trials: list[tuple[list[Column], Column]], options: Candidates, forms: tuple[Form, ...] = ("posterior", "own")
) -> dict[Form, np.ndarray]:
    """Each form's gain over `pooled` [M], summed over trials: the columns to choose from, and that to be scored on.

    The walks behind the columns chosen from saw neither their own held-out samples nor those that are scored.
    """
    gains: dict[Form, np.ndarray] = {}
    for chosen_from, column in trials:
        evidence = sum(evidence_of(one, options) for one in chosen_from)
        assert isinstance(evidence, np.ndarray)
        at = options.places(column[1])
        score: Callable[[Form], np.ndarray] = lambda form: scored(column, choose(form, evidence, at, options))  # noqa: B023, E731
        pooled = score("pooled")
        for form in forms:
            gains[form] = gains.get(form, 0.0) + score(form) - pooled
    return gains
