"""Figures at equal rounds or equal gradients, their means over seeds, and who may be called best."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Literal

import pandas as pd

from ..config.claims import read_at_the_end_alone
from ..metrics.intervals import Interval, t_interval
from ..metrics.judged_by import LEVELS, MAIN
from .results import Results

At = Literal["rounds", "gradients"]
Mark = Literal["best", "tied", ""]

NEAR_ENOUGH = 0.95  # of the budget: a last evaluation below it does not stand for the budget
WIDE = 0.2  # of the budget: evaluations that lie further apart bracket a figure, but do not fix it

_COLUMN = {"rounds": "round", "gradients": "gradients"}
_RUN = ["label", "setting", "seed"]
_PLACE = ["setting", "seed"]
_KEY = [*_RUN, "what"]


def limits(results: Results, at: At) -> pd.Series:
    """The largest round (or gradient count) that every finished run of a (setting, seed) reached.

    A closed form has nothing to be equalised: a method that takes no local steps does not lower the limit. Nor do runs
    that the TOML does not state, where there are others.
    """
    points = _finished(results)
    own = points[~points["label"].isin(results.included)]
    places = pd.MultiIndex.from_frame(own[_PLACE])
    alone = ~pd.MultiIndex.from_frame(points[_PLACE]).isin(places)
    points = pd.concat([own, points[alone]])
    trained = points[~_closed_form(points)]
    reached = (points if trained.empty else trained).groupby(_RUN)[_COLUMN[at]].max()
    return reached.groupby(level=["setting", "seed"]).min()


def at_equal(results: Results, at: At) -> pd.DataFrame:
    """Each finished run's figures at the limit: label, setting, seed, what, value, round, gradients, limit.

    At equal rounds, the last record at or before the limit. At equal gradients, the line between the evaluations
    before and after it: columns before and after are their gradients, first and second their values. The start is
    never the evaluation before. Closed forms show their last figures. A figure that cannot be read there is absent.
    """
    points = _finished(results).merge(
        limits(results, at).rename("limit").reset_index(), on=["setting", "seed"], how="left"
    )
    points = points.sort_values("round", kind="stable")
    if at == "gradients":
        points = points[~points["what"].map(read_at_the_end_alone)]
        closed = _closed_form(points)
        solved = _last(points[closed]).assign(after=float("nan"))
        return pd.concat([_ended(solved), _interpolated(points[~closed])], ignore_index=True)
    points = points[_closed_form(points) | ~(points["round"] > points["limit"])]
    return _last(points).drop(columns=["before", "first"])


def _last(points: pd.DataFrame) -> pd.DataFrame:
    """Each figure's last row; before and first are its gradients and value."""
    last = points.groupby(_KEY, as_index=False)[["value", "round", "gradients", "limit"]].last()
    return last.assign(before=last["gradients"], first=last["value"])


def _ended(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(second=rows["first"])


def _interpolated(points: pd.DataFrame) -> pd.DataFrame:
    """Figures at the limit of gradients; `points` are sorted by round."""
    early = (points["round"] > 0) & (points["gradients"] <= points["limit"])
    before = _last(points[early])
    late = points[points["gradients"] > points["limit"]].groupby(_KEY, as_index=False)[["value", "gradients"]].first()
    rows = before.merge(late.rename(columns={"value": "second", "gradients": "after"}), on=_KEY, how="left")
    exact = rows["before"] == rows["limit"]
    rows.loc[exact, ["second", "after"]] = float("nan")
    rows = rows[exact | rows["after"].notna() | (rows["before"] >= NEAR_ENOUGH * rows["limit"])]
    share = ((rows["limit"] - rows["before"]) / (rows["after"] - rows["before"])).fillna(0.0)
    second = rows["second"].fillna(rows["first"])
    return rows.assign(second=second, value=rows["first"] + share * (second - rows["first"]))


def _finished(results: Results) -> pd.DataFrame:
    done = [(run.label, run.setting, run.seed) for run in results.finished]
    return results.points[pd.MultiIndex.from_frame(results.points[_RUN]).isin(done)]


def _closed_form(points: pd.DataFrame) -> pd.Series:
    """Whether each row is of a run that took no local step in any round."""
    steps = points["value"].where(points["what"] == "method.steps", 0.0)
    return steps.groupby([points[name] for name in _RUN]).transform("max") == 0


class Summary:
    """Means over seeds with intervals, from `at_equal`, and the marks of the best."""

    def __init__(self, results: Results, at: At):
        self.results = results
        self.at = at
        self.read = at_equal(results, at)
        values = self.read
        self.withheld = _missing(values, _finished(results)) if at == "gradients" else set()
        self._series = {
            key: rows.set_index("seed").sort_index()
            for key, rows in values.groupby(["setting", "what", "label"])
            if key not in self.withheld
        }
        self.whats = set(values["what"])

    def seeds(self, setting: str, label: str, what: str) -> pd.Series:
        """Values by seed; empty when the figure was never recorded."""
        rows = self._series.get((setting, what, label))
        return pd.Series(dtype=float) if rows is None else rows["value"]

    def ends(self, setting: str, label: str, what: str) -> list[pd.Series]:
        """[values], or those of the evaluations before and after where a seed's two lie too far apart."""
        rows = self._series.get((setting, what, label))
        if rows is None or self.at == "rounds":
            return [self.seeds(setting, label, what)]
        wide = (rows["after"] - rows["before"]) > WIDE * rows["limit"]
        if not wide.any():
            return [rows["value"]]
        return [rows["value"].mask(wide, rows[end]) for end in ("first", "second")]

    def interval(self, setting: str, label: str, what: str) -> Interval | None:
        values = self.seeds(setting, label, what)
        return t_interval(values.to_numpy()) if len(values) else None

    def marks(self, setting: str, what: str) -> dict[str, Mark]:
        """ "best" for the one method whose paired difference to every other excludes 0 (95 % t intervals over
        common seeds); "tied" for the method of best mean and those it cannot be told from. None with fewer
        than two seeds."""
        higher = higher_is_better(self.results, what)
        means = {
            label: float(self.seeds(setting, label, what).mean())
            for label in self.results.rivals
            if len(self.seeds(setting, label, what))
        }
        if higher is None or len(means) < 2:
            return {}
        top = (max if higher else min)(means, key=lambda label: means[label])
        if len(self.seeds(setting, top, what)) < 2:
            return {}
        ties = [label for label in means if label != top and not self._apart(setting, what, top, label)]
        return {top: "tied", **dict.fromkeys(ties, "tied")} if ties else {top: "best"}

    def _apart(self, setting: str, what: str, one: str, other: str) -> bool:
        """Whether the interval excludes 0, on the same side for every end that the two figures may have."""
        pairs = product(self.ends(setting, one, what), self.ends(setting, other, what))
        return len({side for difference in pairs for side in _sides(*difference)}) == 1


def _sides(one: pd.Series, other: pd.Series) -> Iterator[float]:
    """1 or -1 where the interval of one - other lies above or below 0, both where neither."""
    difference = (one - other).dropna()
    apart = len(difference) >= 2 and t_interval(difference.to_numpy()).excludes(0.0)
    yield from ((1.0,) if difference.mean() > 0 else (-1.0,)) if apart else (1.0, -1.0)


def _missing(values: pd.DataFrame, points: pd.DataFrame) -> set[tuple[str, str, str]]:
    """(setting, what, label) of which some run has no figure at the limit: a mean over the other seeds, which differ
    from method to method, would be compared with that of all."""
    key = ["setting", "what", "label"]
    every = points[~points["what"].map(read_at_the_end_alone)].groupby(key)["seed"].nunique()
    known = values.groupby(key)["seed"].nunique().reindex(every.index, fill_value=0)
    return set(every.index[known < every])


def higher_is_better(results: Results, what: str) -> bool | None:
    """None for figures that have no good end, such as the spread over clients."""
    metric = what.rpartition(".")[2]
    if metric in LEVELS:
        return results.metric.higher_is_better
    known = {kind.name: kind.higher_is_better for kind in (*MAIN, *results.further)}
    return known.get(metric, False if metric in ("loss", "rounds_to_target", "gradients_to_target") else None)
