"""When a method first reaches the target figure."""

from __future__ import annotations

from collections.abc import Iterable

import pandas as pd

from ...config.experiment import ReportConfig
from ...metrics.judged_by import MAIN
from ...metrics.metric import Metric

FIGURES = ("rounds_to_target", "gradients_to_target")


def target_points(points: pd.DataFrame, asked: ReportConfig, metrics: Iterable[Metric] = MAIN) -> pd.DataFrame:
    """ "method.rounds_to_target" and "method.gradients_to_target" of each run that got there, at its last round.

    A run gets there at its first evaluation with the figure at the target or beyond; one that never does has none.
    """
    if asked.target is None:
        return points.head(0)
    rows = []
    error = asked.target_figure.rpartition(".")[2] in ("loss", *(m.name for m in metrics if not m.higher_is_better))
    for _, own in points.groupby(["label", "setting", "seed"], sort=False):
        seen = own[own["what"] == asked.target_figure].sort_values("round", kind="stable")
        there = seen[(seen["value"] <= asked.target) if error else (seen["value"] >= asked.target)]
        if len(there):
            last = own.sort_values("round", kind="stable").iloc[-1]
            for name, column in zip(FIGURES, ("round", "gradients"), strict=True):
                rows.append({**last, "what": f"method.{name}", "value": float(there.iloc[0][column])})
    return pd.DataFrame(rows, columns=points.columns)
