"""What the page's charts draw, as plain lists: curves over seeds, and a point a client."""

from __future__ import annotations

import json
import math
from typing import Any

from ..figures.fairness import client_scores
from ..pictures.series import AXES, X, over_seeds
from ..pictures.style import COLOURS, DASHES
from ..results import Results

MOST_POINTS = 3000  # clients drawn; more would make the page heavy and hide each other
DASH_TEXT = ("", "6 3", "8 3 2 3", "2 3", "8 2 2 2 2 2", "12 3", "5 2", "2 2")


def curve_data(results: Results) -> dict[str, Any]:
    """{"axes", "series"}: every recorded accuracy or error of test, training and validation parts, by method."""
    whats = [
        f"{part}.{model}.{results.metric}"
        for part in ("test", "validation", "train")
        for model in ("delivered", "personal", "global")
        if f"{part}.{model}.{results.metric}" in set(results.points["what"])
    ]
    axes: list[X] = ["rounds", "gradients", "bytes", "seconds"]
    series = []
    for setting in results.settings:
        for what in whats:
            for index, label in enumerate(results.labels):
                lines = {axis: _line(results, label, setting, what, axis) for axis in axes}
                if lines["rounds"]:
                    series.append(
                        {
                            "setting": setting,
                            "what": " ".join(what.split(".")[:2]),
                            "label": label,
                            "colour": COLOURS[index % len(COLOURS)],
                            "dash": DASH_TEXT[index % len(DASHES)],
                            "lines": lines,
                        }
                    )
    return {"axes": {axis: AXES[axis][1] for axis in axes}, "unit": results.metric.head, "series": series}


def _line(results: Results, label: str, setting: str, what: str, axis: X) -> list[list[float | None]]:
    """[x, mean, half-width] by evaluation; None where an interval is withheld."""
    scale = 100 if results.percent(what) else 1
    rows = over_seeds(results, label, setting, what, axis)
    return [[_short(x), _short(scale * mean), _short(scale * half)] for _, x, mean, half in rows.to_numpy().tolist()]


def client_data(results: Results) -> dict[str, Any]:
    """A point a client of the first setting: samples, and personal less global test figure (in `unit`)."""
    setting, series, left = next(iter(results.settings)), [], MOST_POINTS
    for index, label in enumerate(results.labels):
        points: list[list[float | None]] = []
        for run in results.finished:
            if run.label != label or run.setting != setting:
                continue
            frame = client_scores(run, results.metric).head(left)
            if not {"personal", "global"} <= set(frame.columns):
                continue
            gain = results.metric.scale * (frame["personal"] - frame["global"])
            points += [[_short(a), _short(b), None] for a, b in zip(frame["n_train"], gain, strict=True)]
            left -= len(frame)
        if points:
            series.append({"label": label, "colour": COLOURS[index % len(COLOURS)], "points": points})
    return {"series": series}


def _short(value: float) -> float | None:
    value = float(value)
    return float(f"{value:.5g}") if math.isfinite(value) else None


def embedded(data: dict[str, Any]) -> str:
    """JSON that may stand inside a <script> element: no text in it can end the element."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")
