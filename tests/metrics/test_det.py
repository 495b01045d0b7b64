"""Relative FA at relative FR = 1 and its interval, against slow implementations of the definition."""

from __future__ import annotations

import math
import time
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from selffl_cli.metrics import bootstrap, det

Clips = list[tuple[int, int, float, float]]  # label, speaker, score of the model, score of the baseline


def slow_curve(labels: list[int], scores: list[float]) -> dict[Fraction, Fraction]:
    """The lowest FA of each FR over every threshold there is, from the definition, in exact fractions."""
    wake = [s for y, s in zip(labels, scores, strict=True) if y]
    others = [s for y, s in zip(labels, scores, strict=True) if not y]
    lowest: dict[Fraction, Fraction] = {}
    for tau in [*scores, math.inf]:
        fr = Fraction(sum(s < tau for s in wake), len(wake))
        fa = Fraction(sum(s >= tau for s in others), len(others))
        lowest[fr] = min(fa, lowest.get(fr, fa))
    return lowest


def slow_fa(labels: list[int], scores: list[float], fr: Fraction) -> Fraction:
    points = slow_curve(labels, scores)
    if fr in points:
        return points[fr]
    before, after = max(p for p in points if p < fr), min(p for p in points if p > fr)
    return points[before] + (points[after] - points[before]) * (fr - before) / (after - before)


def slow_relative(
    labels: list[int], baseline: list[float], scores: list[float], tau: float
) -> tuple[Fraction, Fraction]:
    wake = [s for y, s in zip(labels, baseline, strict=True) if y]
    fr = Fraction(sum(s < tau for s in wake), len(wake))
    negatives = labels.count(0)
    return slow_fa(labels, scores, fr) * negatives, slow_fa(labels, baseline, fr) * negatives


# few different values: many ties, within and between the kinds
values = st.one_of(st.integers(-3, 3).map(float), st.floats(-2, 2))
clips = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5), values, values), min_size=2, max_size=40).filter(
    lambda rows: len({row[0] for row in rows}) == 2
)


@settings(max_examples=300, deadline=None)
@given(rows=clips, tau=values)
def test_relative_is_its_definition(rows: Clips, tau: float) -> None:
    labels, _, scores, baseline = (list(column) for column in zip(*rows, strict=True))
    found = det.relative(np.array(labels), np.array(baseline), np.array(scores), tau)
    own, theirs = slow_relative(labels, baseline, scores, tau)
    assert found.accepts == pytest.approx(float(own), abs=1e-9)
    assert found.baseline == pytest.approx(float(theirs), abs=1e-9)
    assert (found.ratio is None) == (theirs == 0 or found.rejected == 0)
    assert (found.positives, found.negatives) == (labels.count(1), labels.count(0))


@settings(max_examples=200, deadline=None)
@given(rows=clips, tau=values)
def test_the_baseline_is_1_against_itself(rows: Clips, tau: float) -> None:
    labels, _, _, baseline = (np.array(column) for column in zip(*rows, strict=True))
    assert det.relative(labels, baseline, baseline, tau).ratio in (None, 1.0)


@settings(max_examples=100, deadline=None)
@given(rows=clips, tau=values)
def test_only_the_order_of_scores_matters(rows: Clips, tau: float) -> None:
    labels, _, scores, baseline = (np.array(column) for column in zip(*rows, strict=True))
    scores = np.round(scores, 3)
    one = det.relative(labels, baseline, scores, tau)
    other = det.relative(labels, baseline, np.exp(2 * scores) + 5, tau)
    assert one == other


@settings(max_examples=150, deadline=None)
@given(rows=clips)
def test_curve_holds_every_fr_with_its_lowest_fa(rows: Clips) -> None:
    labels, _, scores, _ = (list(column) for column in zip(*rows, strict=True))
    made = det.curve(np.array(labels), np.array(scores))
    slow = slow_curve(labels, scores)
    assert made.fr[0] == 0 and made.fr[-1] == 1 and made.fa[-1] == 0
    assert (np.diff(made.fr) > 0).all() and (np.diff(made.fa) <= 0).all()
    for fr, fa in slow.items():  # scikit-learn leaves out points on the line at FA = 0
        assert made.fa_at(float(fr)) == pytest.approx(float(fa), abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(rows=clips, fa=st.floats(0, 1))
def test_fr_at_is_the_lowest_fr(rows: Clips, fa: float) -> None:
    labels, _, scores, _ = (np.array(column) for column in zip(*rows, strict=True))
    made = det.curve(labels, scores)
    fr = made.fr_at(fa)
    assert made.fa_at(fr) <= fa + 1e-9
    if fr > 1e-6:
        assert made.fa_at(fr - 1e-6) >= fa - 1e-9


@settings(max_examples=100, deadline=None)
@given(rows=clips)
def test_equal_error_rate_is_equal(rows: Clips) -> None:
    labels, _, scores, _ = (np.array(column) for column in zip(*rows, strict=True))
    made = det.curve(labels, scores)
    assert made.fa_at(made.equal_error_rate) == pytest.approx(made.equal_error_rate, abs=1e-9)


def test_a_worked_example() -> None:
    labels = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0])
    baseline = np.array([0.1, 0.4, 0.6, 0.9, 0.05, 0.2, 0.5, 0.65, 0.7])
    # tau 0.4: one of four wake words below it; others at or above: .5, .65, .7
    model = np.array([0.1, 0.4, 0.6, 0.9, 0.05, 0.2, 0.3, 0.35, 0.7])
    found = det.relative(labels, baseline, model, 0.4)
    assert (found.rejected, found.baseline, found.accepts) == (1.0, 3.0, 1.0)
    assert found.ratio == pytest.approx(1 / 3)
    # tau .41 rejects two wake words: the flat from .4 to .6 ends at .6, where .65 and .7 are accepted
    assert det.relative(labels, baseline, model, 0.41).baseline == 2.0
    # two wake words with one score: rejecting exactly one is on the line between none (3) and two (1)
    tied = np.array([0.3, 0.3, 0.6, 0.9, 0.05, 0.2, 0.3, 0.35, 0.7])
    assert det.relative(labels, baseline, tied, 0.4).accepts == pytest.approx(2.0)


def test_a_baseline_that_rejects_no_wake_word_has_no_place_to_compare_at() -> None:
    """Equal false rejects would be 0/0; the counts stay."""
    labels, baseline = np.array([1, 1, 0, 0]), np.array([0.8, 0.9, 0.85, 0.95])
    none = det.relative(labels, baseline, np.array([0.5, 0.9, 0.6, 0.7]), 0.5)
    assert none.ratio is None and (none.rejected, none.accepts, none.baseline) == (0, 2, 2)
    assert det.relative(labels, baseline, baseline, 0.85).ratio == 1


def test_empty_cases_withhold_the_ratio() -> None:
    scores = np.array([0.1, 0.9, 0.3])
    no_wake = det.relative(np.zeros(3, int), scores, scores, 0.5)
    assert no_wake.ratio is None and (no_wake.positives, no_wake.negatives) == (0, 3)
    no_other = det.relative(np.ones(3, int), scores, scores, 0.5)
    assert no_other.ratio is None and (no_other.positives, no_other.negatives) == (3, 0)
    perfect = det.relative(np.array([1, 1, 0]), np.array([2.0, 3.0, 1.0]), np.array([2.0, 0.0, 1.0]), 2.0)
    assert perfect.ratio is None and perfect.baseline == 0 and perfect.accepts == 1
    with pytest.raises(ValueError, match="both kinds"):
        det.curve(np.zeros(3, int), scores)
    with pytest.raises(ValueError, match="not a number"):
        det.curve(np.array([0, 1, 1]), np.array([0.1, math.nan, 0.3]))


@settings(max_examples=100, deadline=None)
@given(rows=clips, fr=st.floats(0, 1))
def test_threshold_near_is_the_nearest(rows: Clips, fr: float) -> None:
    labels, _, scores, _ = (np.array(column) for column in zip(*rows, strict=True))
    tau = det.threshold_near(labels, scores, fr)
    reached = abs(det.false_rejects(labels, scores, tau) - fr)
    assert all(reached <= abs(det.false_rejects(labels, scores, t) - fr) + 1e-12 for t in scores[labels == 1])


# --- the bootstrap


@settings(max_examples=150, deadline=None)
@given(
    rows=clips,
    tau=values,
    weights=st.lists(st.lists(st.integers(0, 3), min_size=6, max_size=6), min_size=1, max_size=4),
)
def test_a_draw_is_the_metric_on_repeated_clips(rows: Clips, tau: float, weights: list[list[int]]) -> None:
    labels, speaker, scores, baseline = (np.array(column) for column in zip(*rows, strict=True))
    own, theirs = bootstrap.accepts(labels, baseline, scores, tau, speaker, np.array(weights, dtype=float))
    for draw, x, b in zip(weights, own, theirs, strict=True):
        repeated = [row for row in rows for _ in range(draw[row[1]])]
        y, _, s, t = (list(column) for column in zip(*repeated, strict=True)) if repeated else ([], [], [], [])
        if not any(y):
            assert math.isnan(x) and math.isnan(b)
        elif all(y):
            assert x == b == 0
        else:
            slow = slow_relative(y, t, s, tau)
            assert (x, b) == pytest.approx((float(slow[0]), float(slow[1])), abs=1e-9)


def test_a_wake_word_that_is_not_drawn_leaves_a_flat() -> None:
    labels = np.array([1, 1, 1, 1, 0, 0])
    speaker = np.array([0, 1, 2, 3, 4, 4])
    scores = np.array([0.0, 0.0, 1.0, 2.0, 1.5, 5.0])
    baseline = np.array([0.0, 3.0, 3.0, 3.0, 5.0, 5.0])
    own, _ = bootstrap.accepts(labels, baseline, scores, 1.0, speaker, np.array([[1.0, 1, 0, 1, 1], [1, 1, 1, 1, 1]]))
    # one rejected, between none (2 accepted) and two: there 1 is accepted, and 2 where score 1.0 is drawn
    assert own.tolist() == [1.5, 2.0]


def test_draws_are_with_replacement_and_from_the_seed() -> None:
    weights = bootstrap.draws(50, 2000, 1)
    assert (weights.sum(axis=1) == 50).all()
    assert np.array_equal(weights, bootstrap.draws(50, 2000, 1))
    assert not np.array_equal(weights, bootstrap.draws(50, 2000, 2))
    assert weights.mean(axis=0) == pytest.approx(np.ones(50), abs=0.12)
    assert (weights == 0).mean() == pytest.approx((1 - 1 / 50) ** 50, abs=0.01)


def test_interval_of_a_known_spread() -> None:
    theirs = np.full(1001, 2.0)
    own = np.linspace(0, 4, 1001)
    assert bootstrap.interval(own, theirs) == pytest.approx((0.05, 1.95), abs=0.003)
    few = theirs.copy()
    few[:40] = 0
    low, high = bootstrap.interval(np.ones(1001), few) or (0, 0)
    assert low == 0.5 and high == math.inf
    assert bootstrap.interval(np.zeros(1001), np.where(np.arange(1001) < 100, 0, 1.0)) is None
    assert bootstrap.interval(np.full(5, np.nan), np.full(5, np.nan)) is None


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    """Two models of one distribution: the true ratio is 1; speakers differ in how well they are heard."""
    held = 0
    for trial in range(60):
        rng = np.random.default_rng(trial)
        speaker = np.repeat(np.arange(80), 12)
        labels = np.tile([1, 0, 0], 320)
        shift = rng.normal(0, 0.5, 80)[speaker]
        baseline, scores = (1.5 * labels + shift + rng.normal(0, 1, 960) for _ in range(2))
        tau = det.threshold_near(labels, baseline, 0.2)
        found = bootstrap.interval(
            *bootstrap.accepts(labels, baseline, scores, tau, speaker, bootstrap.draws(80, 300, trial))
        )
        held += found is not None and found[0] <= 1 <= found[1]
    assert held >= 51  # 0.95 · 60 = 57; below 51 has probability 0.6 %


def test_two_thousand_draws_take_seconds() -> None:
    rng = np.random.default_rng(0)
    n, speakers = 11_000, 260
    labels = (rng.random(n) < 0.02).astype(int)
    scores, baseline = rng.normal(0, 1, (2, n)) + 2 * labels
    begun = time.perf_counter()
    own, _ = bootstrap.accepts(
        labels, baseline, scores, 1.0, rng.integers(speakers, size=n), bootstrap.draws(speakers, 2000)
    )
    assert len(own) == 2000 and time.perf_counter() - begun < 10
