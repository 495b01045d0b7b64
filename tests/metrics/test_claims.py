"""The verdict rule: sides, margins, too few seeds, and Holm over one experiment's claims."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from selffl_cli.metrics.intervals import Interval
from selffl_cli.metrics.verdicts import Comparison, Judgement, judge, read


def one(differences: list[float], relation: str, margin: float = 0.0) -> Judgement:
    return judge([[Comparison(np.array(differences), relation, margin)]])[0]  # type: ignore[arg-type]


UP = [0.010, 0.012, 0.011, 0.009, 0.013]  # mean 0.011, half-width 0.00196


@pytest.mark.parametrize(
    ("relation", "margin", "verdict"),
    [
        ("greater", 0.0, "reproduced"),
        ("less", 0.0, "contradicted"),
        ("greater", 0.009, "reproduced"),
        ("greater", 0.010, "undecided"),
        ("greater", 0.020, "contradicted"),
        ("less", 0.020, "contradicted"),
        ("equal", 0.020, "reproduced"),
        ("equal", 0.012, "undecided"),
        ("equal", 0.005, "contradicted"),
    ],
)
def test_verdicts(relation: str, margin: float, verdict: str) -> None:
    assert one(UP, relation, margin).verdict == verdict
    mirrored = {"greater": "less", "less": "greater", "equal": "equal"}[relation]
    assert one([-d for d in UP], mirrored, margin).verdict == verdict


def test_interval_is_of_the_paired_differences() -> None:
    interval = one(UP, "greater").interval
    assert interval is not None
    assert interval.mean == pytest.approx(0.011)
    assert interval.half == pytest.approx(2.776445 * np.std(UP, ddof=1) / 5**0.5, rel=1e-6)


def test_an_identity_is_reproduced_exactly() -> None:
    judged = one([0.0] * 5, "equal", 1e-9)
    assert judged.verdict == "reproduced" and judged.p == 0.0
    assert one([0.0] * 5, "greater").verdict == "undecided"


def test_fewer_than_five_seeds_decide_nothing() -> None:
    judged = one(UP[:4], "greater")
    assert judged.verdict == "undecided" and judged.note == "fewer than 5 seeds; would be reproduced"
    assert judged.interval is not None and not judged.interval.withheld


def test_fewer_than_two_seeds_withhold_the_interval() -> None:
    judged = one(UP[:1], "greater")
    assert judged.verdict == "undecided" and "withheld" in judged.note
    assert judged.interval is not None and judged.interval.withheld
    nothing = one([], "greater")
    assert nothing.verdict == "undecided" and nothing.interval is None


def test_holm_takes_a_verdict_away() -> None:
    some = [0.018, 0.038, 0.013, 0.028, 0.006]  # p = 0.022: reproduced alone, not among five
    assert one(some, "greater").verdict == "reproduced"
    assert one(some, "greater").p == pytest.approx(0.022, abs=1e-3)
    family = [[Comparison(np.array(some), "greater")]] * 5
    judged = judge(family)
    assert {entry.verdict for entry in judged} == {"undecided"}
    assert judged[0].interval is not None and judged[0].interval.level == pytest.approx(0.99)


def test_claims_without_seeds_count_in_the_family() -> None:
    empty = Comparison(np.empty(0), "greater")
    judged = judge([[Comparison(np.array(UP), "greater")], [empty], [empty], [empty]])
    assert judged[0].interval is not None and judged[0].interval.level == pytest.approx(1 - 0.05 / 4)


@given(st.floats(-2, 2), st.floats(0, 2), st.floats(0, 1), st.sampled_from(["greater", "less", "equal"]))
def test_reproduced_and_contradicted_are_opposite(mean: float, half: float, margin: float, relation: str) -> None:
    interval, mirror = Interval(mean, half, 5, 0.95), Interval(-mean, half, 5, 0.95)
    verdict = read(interval, relation, margin)  # type: ignore[arg-type]
    if relation == "equal":
        assert verdict == read(mirror, "equal", margin)
        assert (verdict == "reproduced") == (
            abs(mean) + half <= margin or (-margin <= mean - half and mean + half <= margin)
        )
    elif margin == 0:
        other = read(interval, "less" if relation == "greater" else "greater")
        assert {verdict, other} in ({"reproduced", "contradicted"}, {"undecided"})


def against(*rivals: list[float]) -> Judgement:
    return judge([[Comparison(np.array(rival), "less") for rival in rivals]])[0]


def test_lowest_of_all_holds_against_each_or_not_at_all() -> None:
    """By hand: against the weakest at the whole level; one against it decides alone, at its share."""
    down, some = [-d for d in UP], [-0.018, -0.038, -0.013, -0.028, -0.006]  # p = 2e-4 and 0.022
    both = against(down, some)
    assert (both.verdict, both.decided_by) == ("reproduced", 1)
    assert both.p == pytest.approx(0.022, abs=1e-3) and both.interval is not None
    assert both.interval.level == pytest.approx(0.95)
    mixed = against(down, UP, down)
    assert (mixed.verdict, mixed.decided_by) == ("contradicted", 1)
    assert mixed.interval is not None and mixed.interval.level == pytest.approx(1 - 0.05 / 3)
    assert mixed.p == pytest.approx(3 * one(UP, "less").p)
    barely = against(down, [-d for d in some], down)  # alone p = 0.022 contradicts; a third of 0.05 does not
    assert one([-d for d in some], "less").verdict == "contradicted" and barely.verdict == "undecided"
    assert against(down, down[:3]).verdict == against(down, []).verdict == "undecided"
    assert against(UP, []).decided_by == 1, "a method that was not trained leaves the claim open"


@given(st.lists(st.lists(st.floats(-1, 1), min_size=5, max_size=5), min_size=1, max_size=4))
def test_lowest_of_all_follows_from_its_pairs(rivals: list[list[float]]) -> None:
    alone, together = [one(rival, "less").verdict for rival in rivals], against(*rivals).verdict
    assert (together == "reproduced") == all(verdict == "reproduced" for verdict in alone)
    assert together != "contradicted" or "contradicted" in alone


@pytest.mark.parametrize(
    ("margin", "verdict", "tied"),
    [
        # mean -0.011, half-width 0.00196: [-0.01296, -0.00904]
        (0.014, "reproduced", True),
        (0.012, "undecided", True),
        (0.010, "undecided", False),
        (0.009, "contradicted", False),
    ],
)
def test_not_worse_by_more_than_the_margin(margin: float, verdict: str, tied: bool) -> None:
    """By hand: the interval lies above -margin, holds it, or lies below it; tied says where the mean lies."""
    judged = one([-d for d in UP], "not-worse", margin)
    assert judged.verdict == verdict
    assert judged.note.startswith("tied") == tied
    assert one(UP, "not-worse", margin).verdict == "reproduced"  # better is not worse
