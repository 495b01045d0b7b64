"""Learning curves of many methods: a small panel for each, with the first method's curve behind, on one scale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import EngFormatter, MaxNLocator

from ..results import Results
from .series import AXES, X, over_seeds
from .style import COLOURS, DASHES, PAGE, figure, hide_unused, legend_above, lowest, save

COLUMNS = 4
Line = tuple[str, str, str]  # setting, figure, name in the legend


def multiples(results: Results, out: Path, x: X) -> str | None:
    """Test figures of personal and global models, or of personal ones for each setting of a sweep.

    The name of the picture, or None when there is nothing to draw.
    """
    lines = _lines(results)
    bands = {
        (label, setting, what): over_seeds(results, label, setting, what, x)
        for label in results.labels
        for setting, what, _ in lines
    }
    labels = [label for label in results.labels if any(len(bands[label, *line[:2]]) for line in lines)]
    if not labels:
        return None
    scale = results.metric.scale
    bands_drawn = [band for band in bands.values() if len(band)]
    limits = _limits(bands_drawn, scale) if results.metric.percent else None
    compared = lines if len(results.settings) > 1 else lines[:1]
    rows = -(-len(labels) // COLUMNS)
    with figure(rows, COLUMNS, PAGE, 0.7 + 1.5 * rows, sharex=True, sharey=True) as (fig, axes):
        for ax, label in zip(axes.flat, labels, strict=False):
            for setting, what, _ in compared if label != results.labels[0] else []:
                behind = bands[results.labels[0], setting, what]
                ax.plot(behind["x"], scale * behind["mean"], color="#999999", linewidth=0.9,
                        label=f"personal, {results.labels[0]}")  # fmt: skip
            for i, (setting, what, name) in enumerate(lines):
                _draw(ax, bands[label, setting, what], scale, i, name)
            first = bands[label, *lines[0][:2]]
            ends = f": {scale * first['mean'].iloc[-1]:.3g}" if len(first) and len(results.settings) == 1 else ""
            ax.set_title(f"{label}{ends}")
        if limits is not None:
            axes[0, 0].set_ylim(*limits)
        if x in ("gradients", "bytes"):
            axes[0, 0].xaxis.set_major_formatter(EngFormatter(unit=AXES[x][2], places=0, sep=""))
            axes[0, 0].xaxis.set_major_locator(MaxNLocator(4))
        hide_unused(axes, len(labels))
        for ax in axes[:, 0]:
            ax.set_ylabel(f"test {results.metric.head}")
        for ax in lowest(axes, len(labels)):
            ax.tick_params(labelbottom=True)
        fig.supxlabel(AXES[x][1], fontsize=8)
        legend_above(fig, axes)
        return save(fig, out, f"curves-{x}")


def _lines(results: Results) -> list[Line]:
    """What each panel draws."""
    recorded = set(results.points["what"])
    if len(results.settings) > 1:
        what = f"test.personal.{results.metric}"
        short = len(results.settings) <= len(COLOURS) and what in recorded
        return [(setting, what, setting) for setting in results.settings] if short else []
    setting = next(iter(results.settings))
    return [
        (setting, f"test.{model}.{results.metric}", model)
        for model in ("personal", "global")
        if f"test.{model}.{results.metric}" in recorded
    ]


def _draw(ax: Any, band: pd.DataFrame, scale: float, i: int, name: str) -> None:
    if band.empty:
        return
    ax.plot(band["x"], scale * band["mean"], color=COLOURS[i], linestyle=DASHES[i], label=name)
    low, high = (scale * (band["mean"] + sign * band["half"]) for sign in (-1, 1))
    ax.fill_between(band["x"], low, high, color=COLOURS[i], alpha=0.15, linewidth=0)


def _limits(bands: list[pd.DataFrame], scale: float) -> tuple[float, float] | None:
    """The frame: where curves end, without those that end far below all others, and the start of learning."""
    if not bands:
        return None
    ends = scale * np.array([band["mean"].iloc[-1] for band in bands])
    quarter, half = np.nanquantile(ends, [0.25, 0.5])
    low = max(float(np.nanmin(ends)), float(half - 3 * max(half - quarter, 5.0)))
    return max(0.0, low - 8.0), min(101.0, float(np.nanmax(ends)) + 4.0)
