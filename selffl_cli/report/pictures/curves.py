"""Learning curves: mean over seeds with a 95 % band, over rounds, gradients, bytes or seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import EngFormatter, MaxNLocator

from ..results import Results
from .multiples import multiples
from .series import AXES, X, over_seeds
from .style import COLOURS, PAGE, Look, figure, hide_unused, legend_above, looks, lowest, save

MAX_PANELS = 12  # settings of a sweep drawn in one figure


def curves(results: Results, out: Path, x: X) -> str | None:
    """Test and training figures of personal and global models; for a sweep, a panel for each setting; for more
    methods than there are colours, a panel for each method.

    The name of the picture, or None when there is nothing to draw.
    """
    if len(results.labels) > len(COLOURS):
        return multiples(results, out, x)
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
            ax.set_ylabel(results.metric.head)
        for ax in lowest(axes, len(panels)):
            ax.set_xlabel(AXES[x][1])
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
        ax.xaxis.set_major_formatter(EngFormatter(unit=AXES[x][2]))
        ax.xaxis.set_major_locator(MaxNLocator(5))  # numbers with a unit are wide
    if not finals:
        return
    values = np.concatenate([part.to_numpy() for part in finals])
    if not results.metric.percent:
        if (values > 0).all() and values.max() > 20 * values.min():
            ax.set_yscale("log")
        return
    pad = 0.15 * max(float(values.max() - values.min()), 1.0)  # the first quarter may leave the frame below
    ax.set_ylim(max(0.0, float(values.min()) - pad), min(100.0, float(values.max()) + pad) + 0.5)
