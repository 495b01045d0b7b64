"""Learning curves: mean over seeds with a 95 % band, over rounds, gradients, bytes or seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from matplotlib.ticker import EngFormatter

from ..metrics.intervals import t_interval
from ..metrics.names import words
from .collect import Results
from .style import PAGE, Look, figure, hide_unused, legend_above, looks, save

X = Literal["rounds", "gradients", "bytes", "seconds"]

_AXES: dict[str, tuple[str, str, str]] = {  # column, words, unit for the tick labels
    "rounds": ("round", "round", ""),
    "gradients": ("gradients", "gradient evaluations of all clients", ""),
    "bytes": ("bytes", "communication, up and down", "B"),
    "seconds": ("seconds", "wall-clock time (s)", ""),
}
MAX_PANELS = 12  # settings of a sweep drawn in one figure


def curves(results: Results, out: Path, x: X) -> str | None:
    """Test and training figures of personal and global models; for a sweep, a panel for each setting.

    The name of the picture, or None when there is nothing to draw.
    """
    panels = _panels(results)
    if not panels:
        return None
    look = looks(results.labels)
    columns = 2 if len(panels) <= 4 else 3
    rows = -(-len(panels) // columns)
    with figure(rows, columns, PAGE, 0.5 + 2.3 * rows) as (fig, axes):
        for ax, (setting, what, title) in zip(axes.flat, panels, strict=False):
            _panel(ax, results, look, setting, what, x)
            ax.set_title(title)
        hide_unused(axes, len(panels))
        for ax in axes[:, 0]:
            ax.set_ylabel(words(results.metric))
        for ax in _lowest(axes, len(panels)):
            ax.set_xlabel(_AXES[x][1])
        legend_above(fig, axes)
        return save(fig, out, f"curves-{x}")


def _panels(results: Results) -> list[tuple[str, str, str]]:
    """(setting, what, title) of each panel."""
    recorded = set(results.points["what"])
    if len(results.settings) > 1:
        what = f"test.personal.{results.metric}"
        if what not in recorded or len(results.settings) > MAX_PANELS:
            return []
        return [(setting, what, f"{setting}: personal, test") for setting in results.settings]
    setting = next(iter(results.settings))
    return [
        (setting, f"{part}.{model}.{results.metric}", f"{model} models, {words}")
        for part, words in (("test", "test"), ("train", "training"))
        for model in ("personal", "global")
        if f"{part}.{model}.{results.metric}" in recorded
    ]


def _lowest(axes: Any, used: int) -> list[Any]:
    """The lowest visible panel of each column."""
    rows, columns = axes.shape
    return [
        axes[max(r for r in range(rows) if r * columns + c < used), c] for c in range(columns) if c < used
    ]


def _panel(ax: Any, results: Results, look: dict[str, Look], setting: str, what: str, x: X) -> None:
    scale = 100 if results.percent(what) else 1
    finals = []
    for label in results.labels:
        band = over_seeds(results, label, setting, what, x)
        if band.empty:
            continue
        every = (
            results.labels.index(label) % 3,
            max(1, len(band) // 5),
        )  # few markers, not one above the other
        ax.plot(
            band["x"],
            scale * band["mean"],
            label=label,
            marker=look[label].marker,
            markevery=every,
            **look[label].line,
        )
        if band["half"].notna().any():
            ax.fill_between(
                band["x"],
                scale * (band["mean"] - band["half"]),
                scale * (band["mean"] + band["half"]),
                color=look[label].color,
                alpha=0.15,
                linewidth=0,
            )
        finals.append(scale * band["mean"].iloc[len(band) // 4 :])
    if x in ("gradients", "bytes"):
        ax.xaxis.set_major_formatter(EngFormatter(unit=_AXES[x][2]))
    if not finals:
        return
    values = np.concatenate([part.to_numpy() for part in finals])
    if results.metric != "accuracy":
        if (values > 0).all() and values.max() > 20 * values.min():
            ax.set_yscale("log")
        return
    pad = 0.15 * max(float(values.max() - values.min()), 1.0)  # the first quarter may leave the frame below
    ax.set_ylim(max(0.0, float(values.min()) - pad), min(100.0, float(values.max()) + pad) + 0.5)


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
    column = _AXES[x][0]
    made = []
    for number, group in rows.groupby("round"):
        interval = t_interval(group["value"].to_numpy())
        made.append((number, float(group[column].mean()), interval.mean, interval.half))
    return pd.DataFrame(made, columns=["round", "x", "mean", "half"])
