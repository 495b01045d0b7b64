"""Intervals, p-values and Holm's levels against figures worked out by hand or taken from tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selffl_cli.metrics.intervals import boundary_p, holm_alphas, t_interval


def test_t_interval_by_hand() -> None:
    # mean 3, standard deviation sqrt(2.5), five values; t(0.975, 4) = 2.776445 in any table
    interval = t_interval([1, 2, 3, 4, 5])
    assert interval.mean == 3
    assert interval.half == pytest.approx(2.776445 * math.sqrt(2.5 / 5), abs=1e-6)
    assert (interval.low, interval.high) == pytest.approx((3 - 1.963243, 3 + 1.963243), abs=1e-5)
    # t(0.995, 4) = 4.604095
    assert t_interval([1, 2, 3, 4, 5], 0.99).half == pytest.approx(4.604095 * math.sqrt(0.5), abs=1e-6)


def test_one_value_has_no_interval() -> None:
    interval = t_interval([0.7])
    assert interval.withheld and interval.n == 1 and interval.mean == 0.7
    assert not interval.excludes(100.0)


def test_equal_values_have_an_exact_interval() -> None:
    interval = t_interval([0.1] * 5)  # their mean rounds to something else than 0.1
    assert (interval.low, interval.high) == (0.1, 0.1)


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [1.0, math.inf], [[1.0], [2.0]]])
def test_values_that_have_no_mean(bad: list[float]) -> None:
    with pytest.raises(ValueError):
        t_interval(np.array(bad))


def test_p_value_by_hand() -> None:
    # t = 3 / sqrt(0.5) = 4.242641 on 4 degrees of freedom: two-sided p = 0.013236
    assert boundary_p([1, 2, 3, 4, 5], 0.0) == pytest.approx(0.013236, abs=1e-5)
    assert boundary_p([1, 2, 3, 4, 5], 3.0) == pytest.approx(1.0)
    assert boundary_p([2.0], 0.0) == 1.0
    assert boundary_p([2.0, 2.0], 0.0) == 0.0 and boundary_p([2.0, 2.0], 2.0) == 1.0


def test_holm_by_hand() -> None:
    # Holm (1979): 0.01 < .05/4 and 0.013 < .05/3 are rejected, 0.03 > .05/2 is not, so neither is 0.04
    alphas = holm_alphas([0.04, 0.01, 0.03, 0.013])
    assert alphas == pytest.approx([0.025, 0.0125, 0.025, 0.05 / 3])
    rejected = [p < a for p, a in zip([0.04, 0.01, 0.03, 0.013], alphas, strict=True)]
    assert rejected == [False, True, False, True]


def test_holm_goes_to_the_full_level_at_the_last() -> None:
    assert holm_alphas([0.001, 0.002, 0.04]) == pytest.approx([0.05 / 3, 0.025, 0.05])
    assert holm_alphas([0.2]) == [0.05]
    assert holm_alphas([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_adjusted_p_values_reject(p_values: list[float]) -> None:
    """The textbook's other form: adjusted p_(k) = max over j <= k of (m - j + 1) p_(j)."""
    m, adjusted, running = len(p_values), [0.0] * len(p_values), 0.0
    for rank, index in enumerate(sorted(range(m), key=lambda i: p_values[i])):
        running = max(running, (m - rank) * p_values[index])
        adjusted[index] = running
    alphas = holm_alphas(p_values)
    for p, alpha, q in zip(p_values, alphas, adjusted, strict=True):
        if abs(q - 0.05) > 1e-9:
            assert (p < alpha) == (q < 0.05)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8), st.floats(-3, 3), st.floats(0.01, 0.3))
def test_p_value_is_where_the_interval_touches(values: list[float], boundary: float, alpha: float) -> None:
    p = boundary_p(values, boundary)
    if abs(p - alpha) > 1e-6:
        assert t_interval(values, 1 - alpha).excludes(boundary) == (p < alpha)
