"""The verdict rule: what paired differences over seeds say about a claim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from .intervals import Interval, boundary_p, holm_alphas, t_interval

Relation = Literal["greater", "less", "equal", "not-worse"]
Verdict = Literal["reproduced", "contradicted", "undecided"]

MIN_SEEDS = 5


@dataclass(frozen=True)
class Comparison:
    """What is claimed of left - right, with the differences [n], one a seed.

    greater: above `margin` (0 when none is given); less: below -margin; equal: within ±margin; not-worse: above
    -margin, of differences that are positive where the left side is the better one.
    """

    differences: np.ndarray
    relation: Relation
    margin: float = 0.0


@dataclass(frozen=True)
class Judgement:
    """A verdict with the interval it was read from, at its Holm-adjusted level; None without any seed.

    decided_by: which of the claim's comparisons that is.
    """

    verdict: Verdict
    interval: Interval | None
    p: float
    note: str = ""
    decided_by: int = 0


def judge(claims: Sequence[Sequence[Comparison]], alpha: float = 0.05) -> list[Judgement]:
    """Judge the claims of one experiment together: t intervals of the differences, Holm over all claims.

    A claim is one comparison, or several that must all hold. A claim whose seeds are too few counts in the family too,
    so that the others' levels do not depend on it.
    """
    decisive = [_decisive(comparisons) for comparisons in claims]
    alphas = holm_alphas([p for _, p, _ in decisive], alpha)
    return [
        replace(_judge_one(comparisons[index], p, alpha / share), decided_by=index)
        for comparisons, (index, p, share), alpha in zip(claims, decisive, alphas, strict=True)
    ]


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
    if relation == "not-worse":
        margin = -margin
    if low > margin:
        return "reproduced"
    return "contradicted" if high < margin else "undecided"


def _decisive(comparisons: Sequence[Comparison]) -> tuple[int, float, int]:
    """Which comparison decides a claim, the claim's p-value, and in how many parts its level is divided there.

    Where all lean to the claim's side it holds as far as the weakest does, at the undivided level (an
    intersection-union test, Berger 1982). Else the strongest of those against it, each at its share of the level
    (Bonferroni).
    """
    p_values = [_p(comparison) for comparison in comparisons]
    few = [comparison.differences.size < MIN_SEEDS for comparison in comparisons]
    against = [i for i, comparison in enumerate(comparisons) if not _leans(comparison)]
    if not against or any(comparison.differences.size == 0 for comparison in comparisons):
        weakest = max(range(len(comparisons)), key=lambda i: (few[i], p_values[i]))
        return weakest, p_values[weakest], 1
    strongest = min(against, key=lambda i: (few[i], p_values[i]))
    return strongest, min(1.0, len(comparisons) * p_values[strongest]), len(comparisons)


def _leans(comparison: Comparison) -> bool:
    """Whether the mean difference lies on the claim's side."""
    mean, margin = comparison.differences.mean() if comparison.differences.size else 0.0, comparison.margin
    if comparison.relation == "equal":
        return abs(mean) <= margin
    if comparison.relation == "not-worse":
        return bool(mean > -margin)
    return bool(mean > margin if comparison.relation == "greater" else mean < -margin)


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
    tied = comparison.relation == "not-worse" and abs(comparison.differences.mean()) <= comparison.margin
    interval = t_interval(comparison.differences, 1 - alpha)
    if seeds < 2:
        return Judgement("undecided", interval, p, "fewer than 2 seeds: interval withheld")
    verdict = read(interval, comparison.relation, comparison.margin)
    if seeds < MIN_SEEDS:
        leaning = "" if verdict == "undecided" else f"; would be {verdict}"
        return Judgement("undecided", interval, p, f"fewer than {MIN_SEEDS} seeds{leaning}")
    return Judgement(verdict, interval, p, "tied: the mean difference lies within the margin" if tied else "")
