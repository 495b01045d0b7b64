"""Sweeps: a figure against the swept key, and a heat map of every method against the first one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ...metrics.intervals import t_interval
from ..compare import Summary, higher_is_better
from ..heads import head
from ..results import Results, short_text
from .style import PAGE, figure, hide_unused, legend_above, legend_columns, looks, plain_log, save

UNCERTAINTY = (
    ("method.s0", "estimated $s_0$"),
    ("method.steps", "local steps a client"),
    ("method.clipped", "clipped share"),
)


def numeric_key(results: Results) -> str | None:
    """The first swept key whose values are numbers, at least two of them."""
    for key in results.experiment.sweep:
        values = _values(results, key)
        if len(values) > 1 and all(isinstance(v, int | float) and not isinstance(v, bool) for v in values):
            return key
    return None


def sweep(results: Results, summary: Summary, out: Path) -> list[str]:
    """The main metric against the first numeric key, one panel for each combination of the others; and the
    same for what uncertainty did (its collapses show there)."""
    key = numeric_key(results)
    if key is None:
        return []
    names = []
    main = f"test.personal.{results.metric}"
    head = f"personal {results.metric.head}"
    if main in summary.whats:
        names.append(_grid(results, summary, out, "sweep", key, [(main, head)]))
    shown = [(what, text) for what, text in UNCERTAINTY if what in summary.whats]
    if "method.s0" in summary.whats:
        names.append(_grid(results, summary, out, "sweep-uncertainty", key, shown))
    return names


def _values(results: Results, key: str) -> list[Any]:
    values: list[Any] = []
    for setting in results.settings.values():
        if key in setting and setting[key] not in values:
            values.append(setting[key])
    return values


def _grid(results: Results, summary: Summary, out: Path, name: str, key: str, whats: Sequence[tuple[str, str]]) -> str:
    panels: dict[str, list[tuple[float, str]]] = {}
    others = [other for other in results.experiment.sweep if other != key]
    for setting, values in results.settings.items():
        title = ", ".join(f"{o.rpartition('.')[2]} = {short_text(values[o])}" for o in others if o in values)
        panels.setdefault(title, []).append((float(values[key]), setting))
    columns = min(3, len(panels)) if len(whats) == 1 else len(panels)
    rows = -(-len(panels) // columns) if len(whats) == 1 else len(whats)
    look = looks(results.labels)
    width = 3.5 if columns == 1 else max(PAGE, 2.1 * columns)
    lines = -(-len(results.labels) // legend_columns(width, len(results.labels)))
    with figure(rows, columns, width, 0.3 + 0.15 * lines + 2.0 * rows, sharex=True, sharey="row") as (fig, axes):
        places = [(what, title) for what, _ in whats for title in panels]
        for ax, (what, title) in zip(axes.flat, places, strict=False):
            for label in results.labels:
                _line(ax, results, summary, label, what, sorted(panels[title]), look[label])
            if what == whats[0][0]:
                ax.set_title(title)
            _scales(ax, panels[title], results.percent(what))
        hide_unused(axes, len(places))
        for row, ax in enumerate(axes[:, 0]):
            ax.set_ylabel(whats[row][1] if len(whats) > 1 else whats[0][1])
        for ax in axes[-1]:
            ax.set_xlabel(key.rpartition(".")[2].replace("_", " "))
        legend_above(fig, axes)
        return save(fig, out, name)


def _line(
    ax: Any,
    results: Results,
    summary: Summary,
    label: str,
    what: str,
    points: list[tuple[float, str]],
    look: Any,
) -> None:
    scale = 100 if results.percent(what) else 1
    found = [(x, summary.interval(setting, label, what)) for x, setting in points]
    known = [(x, interval) for x, interval in found if interval is not None]
    if not known or (what != f"test.personal.{results.metric}" and not _reveals(summary, label, points)):
        return
    halves = [0.0 if interval.withheld else scale * interval.half for _, interval in known]
    ax.errorbar(
        [x for x, _ in known],
        [scale * interval.mean for _, interval in known],
        yerr=halves if any(halves) else None,
        label=label,
        marker=look.marker,
        capsize=2,
        elinewidth=0.8,
        **look.line,
    )


def _reveals(summary: Summary, label: str, points: list[tuple[float, str]]) -> bool:
    return any(summary.interval(setting, label, "method.s0") is not None for _, setting in points)


def _scales(ax: Any, points: list[tuple[float, str]], share: bool) -> None:
    """Logarithmic where the values are positive and span more than a decade."""
    xs = [x for x, _ in points]
    if min(xs) > 0 and max(xs) > 10 * min(xs):
        ax.set_xscale("log")
        ax.set_xticks(sorted(xs), [f"{x:g}" for x in sorted(xs)])
        ax.minorticks_off()
    ys = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.get_lines()] or [np.empty(0)])
    ys = ys[np.isfinite(ys)]
    if not share and ys.size and ys.min() > 0 and ys.max() > 10 * ys.min():
        ax.set_yscale("log")
        plain_log(ax.yaxis)


def _columns(results: Results, summary: Summary) -> list[tuple[str, str, str]]:
    """Setting, figure and title of each column."""
    if len(results.settings) > 1:
        return [(s, f"test.personal.{results.metric}", s) for s in results.settings]
    setting = next(iter(results.settings))
    kinds = ((results.metric, "all samples"), ("client_mean", "client mean"), ("worst_tenth", "worst tenth"))
    return [
        (setting, f"test.{model}.{metric}", f"{model}\n{text}")
        for metric, text in kinds
        for model in ("personal", "global")
        if f"test.{model}.{metric}" in summary.whats
    ]


def _differences(
    results: Results, summary: Summary, columns: list[tuple[str, str, str]]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean paired difference to the first method of the others [L, C], NaN without one, and where a star stands."""
    reference, *others = results.labels
    grid = np.full((len(others), len(columns)), np.nan)
    stars = np.zeros_like(grid, dtype=bool)
    for j, (setting, what, _) in enumerate(columns):
        base = summary.seeds(setting, reference, what)
        for i, label in enumerate(others):
            difference = (summary.seeds(setting, label, what) - base).dropna().to_numpy()
            if difference.size:
                interval = t_interval(difference)
                grid[i, j] = interval.mean * (100 if results.percent(what) else 1)
                stars[i, j] = interval.excludes(0.0)
    return grid, stars


def _write_cells(ax: Any, grid: np.ndarray, stars: np.ndarray, limit: float, digits: int) -> None:
    """The numbers of the map, in white where the colour is dark."""
    for (i, j), value in np.ndenumerate(grid):
        text = "–" if np.isnan(value) else f"{value:+.{digits}f}"
        text = text.replace("-", "+") if not text.strip("+-0.") else text  # no "-0.0"
        text += "*" if stars[i, j] else ""
        colour = "white" if abs(value) > 0.65 * limit else "black"
        ax.text(j, i, text, ha="center", va="center", fontsize=7, color=colour)


def heat_map(results: Results, summary: Summary, out: Path) -> str | None:
    """Paired difference of every method to the experiment's first one; a star where its 95 % interval
    excludes 0.

    Columns are the settings of a sweep, or the test figures when there is none. None for fewer than three
    methods.
    """
    if len(results.labels) < 3:
        return None
    reference, *others = results.labels
    columns = _columns(results, summary)
    grid, stars = _differences(results, summary, columns)
    if not np.isfinite(grid).any():
        return None
    higher = bool(higher_is_better(results, columns[0][1]))
    limit = float(np.nanquantile(np.abs(grid), 0.9)) or 1.0  # one broken method must not leave the others grey
    with figure(1, 1, max(3.5, 1.6 + 0.75 * len(columns)), 1.3 + 0.28 * len(others)) as (fig, axes):
        ax = axes[0, 0]
        ax.grid(visible=False)
        image = ax.imshow(grid if higher else -grid, cmap="PuOr_r", vmin=-limit, vmax=limit, aspect="auto")
        _write_cells(ax, grid, stars, limit, 1 if results.metric.percent else 2)
        ax.set_yticks(range(len(others)), others)
        titles = [head(title) for _, _, title in columns]
        wide = max(len(line) for title in titles for line in title.split("\n")) > 11  # letters of a column
        ax.set_xticks(range(len(columns)), titles, rotation=30 if wide else 0, ha="right" if wide else "center")
        unit = results.metric.unit
        ax.set_title(f"difference to {reference} ({unit})\n* 95 % interval excludes 0")
        bar = fig.colorbar(image, ax=ax, ticks=[-limit, 0, limit], shrink=0.9, extend="both")
        bar.ax.set_yticklabels(["worse", "equal", "better"])
        return save(fig, out, "differences")
