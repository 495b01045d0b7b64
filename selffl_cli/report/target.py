"""How soon a method reaches the figure that the experiment names beforehand (`[report] target`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ..config import ReportConfig
from ..metrics.names import ERRORS

if TYPE_CHECKING:
    from .collect import Results

FIGURES = ("rounds_to_target", "gradients_to_target")


def target_points(points: pd.DataFrame, asked: ReportConfig) -> pd.DataFrame:
    """ "method.rounds_to_target" and "method.gradients_to_target" of each run that got there, at its last round.

    A run gets there at its first evaluation with the figure at the target or beyond; one that never does has none.
    """
    if asked.target is None:
        return points.head(0)
    rows = []
    error = asked.target_figure.rpartition(".")[2] in ("loss", *ERRORS)
    for _, own in points.groupby(["label", "setting", "seed"], sort=False):
        seen = own[own["what"] == asked.target_figure].sort_values("round", kind="stable")
        there = seen[(seen["value"] <= asked.target) if error else (seen["value"] >= asked.target)]
        if len(there):
            last = own.sort_values("round", kind="stable").iloc[-1]
            for name, column in zip(FIGURES, ("round", "gradients"), strict=True):
                rows.append({**last, "what": f"method.{name}", "value": float(there.iloc[0][column])})
    return pd.DataFrame(rows, columns=points.columns)


def target_section(results: Results, folder: Path) -> str:
    """Markdown, or "" when the experiment names no target."""
    asked = results.experiment.report
    if asked.target is None:
        return ""
    swept = len(results.settings) > 1
    shown = results.show(asked.target, asked.target_figure) + (" %" if results.percent(asked.target_figure) else "")
    lines = [
        "### How soon the target is reached",
        "",
        f"The first evaluation at which {asked.target_figure} is at {shown} or beyond, over the seeds that got there: "
        "mean (smallest to largest). The target was set beforehand, in the experiment's TOML.",
        "",
        "| " + ("setting | " if swept else "") + "method | seeds that got there | rounds | gradient evaluations |",
        "|" + "---|" * (swept + 1) + "---:|---:|---:|",
    ]
    points = results.points
    for setting in results.settings:
        for label in results.labels:
            runs = [run for run in results.finished if run.label == label and run.setting == setting]
            own = points[(points["label"] == label) & (points["setting"] == setting)]
            found = [own.loc[own["what"] == f"method.{name}", "value"] for name in FIGURES]
            cells = [f"{v.mean():,.0f} ({v.min():,.0f} to {v.max():,.0f})" if len(v) else "–" for v in found]
            if runs:
                place = f"{setting} | {label}" if swept else label
                lines.append(f"| {place} | {len(found[0])} of {len(runs)} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)
