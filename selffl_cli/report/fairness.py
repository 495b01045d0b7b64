"""How evenly a method serves its clients: heavy against light ones, and the groups that the data name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..metrics import names
from .style import PAGE, figure, hide_unused, legend_above, looks, save

if TYPE_CHECKING:
    from .collect import Results, Run
    from .compare import Summary

QUARTER = 0.25  # of the clients: the light ones have the fewest training samples, the heavy ones the most
ALIKE = 1.25  # clients whose sizes differ by less than this factor are neither


def client_scores(run: Run, metric: str) -> pd.DataFrame:
    """Of every client with test samples: n_train, group, and `personal` and `global` test figure where recorded."""
    clients = run.folder.clients.to_pandas()
    clients = clients[clients["n_test"] > 0]
    if run.folder.record["train"].get("new_clients"):
        clients = clients[clients["participations"] > 0]  # the others were held out
    kind = {"accuracy": "correct", "perplexity": "nll"}.get(metric, metric)
    found = {"n_train": clients["n_train"], "group": clients["group"]}
    for model in ("personal", "global"):
        if f"test_{model}_{kind}" in clients.columns:
            total = clients[f"test_{model}_{kind}"]
            words = metric == "perplexity"
            found[model] = np.exp(total / clients["test_words"]) if words else total / clients["n_test"]
    return pd.DataFrame(found)


def light_and_heavy(sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Positions of the quarter of clients with the fewest and with the most samples; None when all are alike."""
    if len(sizes) < 4 or sizes.max() <= ALIKE * max(sizes.min(), 1):
        return None
    order = np.argsort(sizes, kind="stable")
    count = max(1, round(QUARTER * len(sizes)))
    return order[:count], order[-count:]


def figures(scores: pd.DataFrame, higher_is_better: bool) -> dict[str, float]:
    """{"personal.light": …}: means over the light and the heavy clients, heavy minus light, the worst group's mean
    and the gap between the best and the worst group; each client counts once."""
    made: dict[str, float] = {}
    ends = light_and_heavy(scores["n_train"].to_numpy())
    named = scores[scores["group"] != ""]
    for model in ("personal", "global"):
        if model not in scores:
            continue
        values = scores[model].to_numpy()
        if ends:
            light, heavy = (float(values[end].mean()) for end in ends)
            made |= {f"{model}.light": light, f"{model}.heavy": heavy, f"{model}.heavy_gap": heavy - light}
        if named["group"].nunique() > 1:
            means = named.groupby("group")[model].mean()
            worst = means.min() if higher_is_better else means.max()
            made |= {f"{model}.worst_group": float(worst), f"{model}.group_gap": float(means.max() - means.min())}
    return {name: value for name, value in made.items() if np.isfinite(value)}


def final_points(points: pd.DataFrame, runs: Iterable[Run], metric: str) -> pd.DataFrame:
    """The figures of each finished run's final models, as points of its last round."""
    frames = [points.head(0)]
    for run in runs:
        own = points[(points["label"] == run.label) & (points["seed"] == run.seed) & (points["setting"] == run.setting)]
        last = own.sort_values("round", kind="stable").tail(1).drop(columns=["what", "value"])
        found = figures(client_scores(run, metric), metric == "accuracy")
        frame = pd.DataFrame([(f"test.{name}", value) for name, value in found.items()], columns=["what", "value"])
        frames.append(last.merge(frame, how="cross")[list(points.columns)])
    return pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True)


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
    scale = 100 if results.metric == "accuracy" else 1
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
            ax.set_xlabel(f"test {names.words(results.metric)}")
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
