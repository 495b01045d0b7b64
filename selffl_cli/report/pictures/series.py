"""One figure of a method over a run, from all its seeds."""

from __future__ import annotations

from typing import Literal

import pandas as pd

from ...metrics.intervals import t_interval
from ..results import Results

X = Literal["rounds", "gradients", "bytes", "seconds"]

AXES: dict[str, tuple[str, str, str]] = {  # column, words, unit for the tick labels
    "rounds": ("round", "round", ""),
    "gradients": ("gradients", "gradient evaluations of all clients", ""),
    "bytes": ("bytes", "communication, up and down", "B"),
    "seconds": ("seconds", "wall-clock time (s)", ""),
}


def over_seeds(results: Results, label: str, setting: str, what: str, x: X) -> pd.DataFrame:
    """x, mean and 95 % half-width of a figure by evaluated round, over the finished seeds that reached it.

    Over gradients, bytes and seconds, x is the mean over the seeds at that round.
    """
    points = results.points
    seeds = [run.seed for run in results.finished if run.label == label and run.setting == setting]
    rows = points[
        (points["label"] == label)
        & (points["setting"] == setting)
        & (points["what"] == what)
        & points["seed"].isin(seeds)
    ]
    column = AXES[x][0]
    made = []
    for number, group in rows.groupby("round"):
        interval = t_interval(group["value"].to_numpy())
        made.append((number, float(group[column].mean()), interval.mean, interval.half))
    return pd.DataFrame(made, columns=["round", "x", "mean", "half"])
