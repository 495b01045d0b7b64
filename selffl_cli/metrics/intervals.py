"""Confidence intervals over seeds, paired differences, and Holm's correction for several of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A mean over n seeds with its two-sided interval; `half` is NaN when it is withheld (n < 2)."""

    mean: float
    half: float
    n: int
    level: float

    @property
    def low(self) -> float:
        return self.mean - self.half

    @property
    def high(self) -> float:
        return self.mean + self.half

    @property
    def withheld(self) -> bool:
        return math.isnan(self.half)

    def excludes(self, value: float) -> bool:
        """Whether `value` lies outside; a withheld interval excludes nothing."""
        return not self.withheld and (self.low > value or self.high < value)


def t_interval(values: Sequence[float] | np.ndarray, level: float = 0.95) -> Interval:
    """Student's t interval of the mean of `values` [n], in their own unit.

    One value has no interval (`half` is NaN); no value at all is a ValueError, as is one that is not finite.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1 or sample.size == 0 or not np.isfinite(sample).all():
        raise ValueError("an interval needs a flat, non-empty list of finite values")
    n, mean = sample.size, float(sample.mean())
    if n < 2:
        return Interval(mean, math.nan, n, level)
    if (sample == sample[0]).all():  # exact, where the rounded mean would leave a spread of 1e-17
        return Interval(float(sample[0]), 0.0, n, level)
    error = float(sample.std(ddof=1)) / math.sqrt(n)
    return Interval(mean, float(stats.t.ppf(0.5 + level / 2, n - 1)) * error, n, level)


def boundary_p(values: Sequence[float] | np.ndarray, boundary: float) -> float:
    """Two-sided p-value of "the mean of `values` is `boundary`" (one-sample t; of differences, paired t).

    It is the smallest alpha whose (1 - alpha) t interval excludes the boundary. 1 for fewer than two values;
    without any spread 0, or 1 when the mean is the boundary itself.
    """
    interval = t_interval(values)
    distance = abs(interval.mean - boundary)
    if interval.withheld:
        return 1.0
    if interval.half == 0:
        return 0.0 if distance > 0 else 1.0
    error = interval.half / float(stats.t.ppf(0.975, interval.n - 1))
    return float(2 * stats.t.sf(distance / error, interval.n - 1))


def holm_alphas(p_values: Sequence[float], alpha: float = 0.05) -> list[float]:
    """The level at which Holm's step-down procedure (Holm 1979) tests each hypothesis, in the order given.

    The k-th smallest of m p-values is tested at alpha/(m - k + 1). At the first one that is not rejected the
    procedure stops: the rest are held to that same level, which none of them reaches. So hypothesis i is
    rejected exactly when p_i < alphas[i], that is, when its (1 - alphas[i]) interval excludes the boundary.
    """
    m = len(p_values)
    alphas = [alpha] * m
    level = alpha / max(m, 1)
    stopped = False
    for rank, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        if not stopped:
            level = alpha / (m - rank)
            stopped = not p_values[index] < level
        alphas[index] = level
    return alphas
