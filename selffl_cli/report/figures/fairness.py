"""How evenly the clients are served."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from ...metrics.metric import Metric
from ..results import Run

QUARTER = 0.25  # of the clients: the light ones have the fewest training samples, the heavy ones the most


ALIKE = 1.25  # clients whose sizes differ by less than this factor are neither


def client_scores(run: Run, metric: Metric) -> pd.DataFrame:
    """Of every judged client with test samples: n_train, group, and the `personal` and `global` figure recorded."""
    clients = run.judged_clients()
    clients = clients[clients["n_test"] > 0]
    found = {"n_train": clients["n_train"], "group": clients["group"]}
    count = f"test_{metric.count_column}" if metric.count_column else "n_test"
    for model in ("personal", "global"):
        if f"test_{model}_{metric.sum_column}" in clients.columns:
            found[model] = metric.of(clients[f"test_{model}_{metric.sum_column}"], clients[count])
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


def final_points(points: pd.DataFrame, runs: Iterable[Run], metric: Metric) -> pd.DataFrame:
    """The figures of each finished run's final models, as points of its last round."""
    frames = [points.head(0)]
    for run in runs:
        own = points[(points["label"] == run.label) & (points["seed"] == run.seed) & (points["setting"] == run.setting)]
        last = own.sort_values("round", kind="stable").tail(1).drop(columns=["what", "value"])
        found = figures(client_scores(run, metric), metric.higher_is_better)
        frame = pd.DataFrame([(f"test.{name}", value) for name, value in found.items()], columns=["what", "value"])
        frames.append(last.merge(frame, how="cross")[list(points.columns)])
    return pd.concat([frame for frame in frames if len(frame)] or frames, ignore_index=True)
