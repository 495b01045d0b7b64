"""Figures at equal rounds or equal gradients, their means over seeds, and who may be called best."""

from __future__ import annotations

from typing import Literal

import pandas as pd

from ..metrics.intervals import Interval, t_interval
from ..metrics.names import ERRORS
from .results import Results

At = Literal["rounds", "gradients"]
Mark = Literal["best", "tied", ""]

_COLUMN = {"rounds": "round", "gradients": "gradients"}


_RUN = ["label", "setting", "seed"]


def limits(results: Results, at: At) -> pd.Series:
    """The largest round (or gradient count) that every finished run of a (setting, seed) reached.

    A closed form has nothing to be equalised: a method that takes no local steps does not lower the limit.
    """
    points = _finished(results)
    trained = points[~_closed_form(points)]
    reached = (points if trained.empty else trained).groupby(_RUN)[_COLUMN[at]].max()
    return reached.groupby(level=["setting", "seed"]).min()


def at_equal(results: Results, at: At) -> pd.DataFrame:
    """Each finished run's figures by the last record at or before the limit: label, setting, seed, what,
    value, round.

    Closed forms show their last figures. A figure that was not recorded up to the limit is absent.
    """
    points = _finished(results).merge(
        limits(results, at).rename("limit").reset_index(), on=["setting", "seed"], how="left"
    )
    points = points[_closed_form(points) | ~(points[_COLUMN[at]] > points["limit"])]
    last = points.sort_values("round", kind="stable").groupby([*_RUN, "what"], as_index=False)
    return last[["value", "round", "gradients"]].last()


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
        values = at_equal(results, at)
        self.withheld = _too_late(values, _finished(results)) if at == "gradients" else set()
        self._series = {
            key: rows.set_index("seed")["value"].sort_index()
            for key, rows in values.groupby(["setting", "what", "label"])
            if key not in self.withheld
        }
        self.whats = set(values["what"])

    def seeds(self, setting: str, label: str, what: str) -> pd.Series:
        """Values by seed; empty when the figure was never recorded."""
        return self._series.get((setting, what, label), pd.Series(dtype=float))

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
            for label in self.results.labels
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
        difference = (self.seeds(setting, one, what) - self.seeds(setting, other, what)).dropna()
        return len(difference) >= 2 and t_interval(difference.to_numpy()).excludes(0.0)


def _too_late(values: pd.DataFrame, points: pd.DataFrame) -> set[tuple[str, str, str]]:
    """(setting, what, label) of which some run had no figure by the limit, or that of its start alone: a mean over
    the other seeds, which differ from method to method, would be compared with that of all."""
    key = ["setting", "what", "label"]
    every = points.groupby(key)["seed"].nunique()
    known = values[values["round"] > 0].groupby(key)["seed"].nunique().reindex(every.index, fill_value=0)
    return set(every.index[known < every])


def higher_is_better(results: Results, what: str) -> bool | None:
    """None for figures that have no good end, such as the spread over clients."""
    metric = what.rpartition(".")[2]
    if metric in ("accuracy", "client_mean", "worst_tenth", "p10", "light", "heavy", "worst_group"):
        return results.metric == "accuracy"
    return False if metric in ("loss", "rounds_to_target", "gradients_to_target", *ERRORS) else None
