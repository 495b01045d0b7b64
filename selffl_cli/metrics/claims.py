"""The verdict rule: what paired differences over seeds say about a claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .intervals import Interval, boundary_p, holm_alphas, t_interval

Relation = Literal["greater", "less", "equal"]
Verdict = Literal["reproduced", "contradicted", "undecided"]

MIN_SEEDS = 5


@dataclass(frozen=True)
class Comparison:
    """What is claimed of left - right, with the differences [n], one a seed.

    greater: above `margin` (0 when none is given); less: below -margin; equal: within ±margin.
    """

    differences: np.ndarray
    relation: Relation
    margin: float = 0.0


@dataclass(frozen=True)
class Judgement:
    """A verdict with the interval it was read from, at its Holm-adjusted level; None without any seed."""

    verdict: Verdict
    interval: Interval | None
    p: float
    note: str = ""


def judge(comparisons: Sequence[Comparison], alpha: float = 0.05) -> list[Judgement]:
    """Judge the claims of one experiment together: t intervals of the differences, Holm over all of them.

    A claim whose seeds are too few counts in the family too, so that the others' levels do not depend on it.
    """
    p_values = [_p(comparison) for comparison in comparisons]
    alphas = holm_alphas(p_values, alpha)
    return [_judge_one(c, p, a) for c, p, a in zip(comparisons, p_values, alphas, strict=True)]


def read(interval: Interval, relation: Relation, margin: float = 0.0) -> Verdict:
    """What an interval of left - right says: wholly on the claim's side, wholly on the other, or neither."""
    if interval.withheld:
        return "undecided"
    low, high = interval.low, interval.high
    if relation == "equal":
        if -margin <= low and high <= margin:
            return "reproduced"
        return "contradicted" if high < -margin or low > margin else "undecided"
    if relation == "less":
        low, high = -high, -low
    if low > margin:
        return "reproduced"
    return "contradicted" if high < margin else "undecided"


def _p(comparison: Comparison) -> float:
    """The smallest alpha at which the interval decides the claim, either way; 1 when nothing can."""
    differences, margin = comparison.differences, comparison.margin
    if differences.size < 2:
        return 1.0
    if comparison.relation == "equal":  # the nearer end of ±margin decides, from inside and from outside
        return boundary_p(differences, margin if differences.mean() >= 0 else -margin)
    return boundary_p(differences, margin if comparison.relation == "greater" else -margin)


def _judge_one(comparison: Comparison, p: float, alpha: float) -> Judgement:
    seeds = comparison.differences.size
    if seeds == 0:
        return Judgement("undecided", None, p, "no seed has both sides")
    interval = t_interval(comparison.differences, 1 - alpha)
    if seeds < 2:
        return Judgement("undecided", interval, p, "fewer than 2 seeds: interval withheld")
    verdict = read(interval, comparison.relation, comparison.margin)
    if seeds < MIN_SEEDS:
        leaning = "" if verdict == "undecided" else f"; would be {verdict}"
        return Judgement("undecided", interval, p, f"fewer than {MIN_SEEDS} seeds{leaning}")
    return Judgement(verdict, interval, p)
