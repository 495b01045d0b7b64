"""How evenly a method serves its clients: heavy against light ones, and the groups that the data name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..figures.fairness import client_scores
from ..pictures.style import PAGE, figure, hide_unused, legend_above, looks, save

if TYPE_CHECKING:
    from ..compare import Summary
    from ..results import Results


def fairness(results: Results, summary: Summary, out: Path) -> str | None:
    """Light and heavy clients, and every group, one row a method: means over clients and seeds."""
    if len(results.settings) > 1:
        return None
    setting = next(iter(results.settings))
    panels = []
    for model in ("personal", "global"):
        labels = [name for name in results.labels if summary.interval(setting, name, f"test.{model}.light")]
        if labels:
            panels.append((f"{model} models: light ○ and heavy ● clients", model, labels, False))
        labels = [name for name in results.labels if summary.interval(setting, name, f"test.{model}.group_gap")]
        if labels:
            panels.append((f"{model} models: groups", model, labels, True))
    if not panels:
        return None
    scale = results.metric.scale
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    height = 0.9 + rows * (0.6 + 0.24 * max(len(labels) for _, _, labels, _ in panels))
    with figure(rows, columns, PAGE if columns > 1 else PAGE / 2, height) as (fig, axes):
        for ax, (title, model, labels, grouped) in zip(axes.flat, panels, strict=False):
            if grouped:
                _groups(ax, results, setting, model, labels, scale)
            else:
                _ends(ax, summary, setting, model, labels, scale)
            ax.set_yticks(range(len(labels)), labels)
            ax.set_ylim(len(labels) - 0.5, -0.5)
            ax.grid(axis="y", visible=False)
            ax.set_title(title)
            ax.set_xlabel(f"test {results.metric.head}")
        hide_unused(axes, len(panels))
        legend_above(fig, axes)
        return save(fig, out, "fairness")


def _ends(ax: Any, summary: Summary, setting: str, model: str, labels: list[str], scale: float) -> None:
    for row, label in enumerate(labels):
        ends = [summary.interval(setting, label, f"test.{model}.{end}") for end in ("light", "heavy")]
        low, high = (scale * end.mean for end in ends if end)
        ax.plot([low, high], [row, row], color="#999999", zorder=1)
        ax.scatter([low], [row], s=28, facecolors="white", edgecolors="#0072B2", zorder=2)
        ax.scatter([high], [row], s=28, color="#0072B2", zorder=2)


def _groups(ax: Any, results: Results, setting: str, model: str, labels: list[str], scale: float) -> None:
    means: dict[str, pd.Series] = {}
    for label in labels:
        runs = [run for run in results.finished if run.label == label and run.setting == setting]
        scores = pd.concat([client_scores(run, results.metric) for run in runs])
        means[label] = scores[scores["group"] != ""].groupby("group")[model].mean()
    names = sorted({name for series in means.values() for name in series.index})
    for name, look in looks(names).items():
        found = [(scale * means[label][name], row) for row, label in enumerate(labels) if name in means[label]]
        ax.scatter(*zip(*found, strict=True), s=24, color=look.color, marker=look.marker, label=name)
