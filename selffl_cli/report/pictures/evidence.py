"""A picture of what evidence found: from it a person sees whether personalisation pays before any test figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...metrics.metric import Metric
from .style import PAGE, figure, legend_above, looks, plain_log, save


def draw_evidence(found: dict[str, Any], metric: Metric, folder: Path, name: str) -> str:
    """Held-out loss and score by family, the chosen amounts against client size, r_m of a few clients, pi by k, and
    what the chosen k means."""
    grid = np.array(found["grid"], float)
    look = looks(found["families"])
    with figure(3, 2, PAGE, 7.0) as (fig, axes):
        _curves(axes[0, 0], found, grid, look)
        _scores(axes[0, 1], found, grid, look, metric)
        _amounts(axes[1, 0], found, grid, look)
        _beliefs(axes[1, 1], found, grid)
        _strengths(axes[2, 0], found)
        _way(axes[2, 1], found)
        legend_above(fig, axes[:1], 3)
        return save(fig, folder, name)


def _steps(ax: Any, grid: np.ndarray) -> None:
    """Steps as 0, 1, 2, 4, …, evenly spaced."""
    shown = range(0, len(grid), 1 if len(grid) < 9 else 2)
    ax.set_xticks(list(shown), [f"{grid[i]:g}" for i in shown])


def _curves(ax: Any, found: dict[str, Any], grid: np.ndarray, look: Any) -> None:
    for family, curve in found["curves"].items():
        ax.plot(range(len(grid)), curve["loss"], label=family, **look[family].line)
    at = found["pooled_place"]
    ax.plot([at], [found["curves"][found["family"]]["loss"][at]], "o", color="black", markersize=5)
    ax.axhline(found["curves"][found["kept"][0]]["loss"][0], color="#666666", linewidth=0.8, linestyle=":")
    ax.set_title("held-out training samples: loss (● chosen for the mean client)")
    ax.set_xlabel("local steps (dotted: the start, 0 steps)")
    ax.set_ylabel("loss a sample")
    top = max(curve["loss"][0] for family, curve in found["curves"].items() if not family.startswith("own"))
    low = min(min(curve["loss"]) for curve in found["curves"].values())
    ax.set_ylim(low - 0.05 * (top - low), max(1.3 * top - 0.3 * low, low + 1e-9))
    _steps(ax, grid)


def _scores(ax: Any, found: dict[str, Any], grid: np.ndarray, look: Any, metric: Metric) -> None:
    for family, curve in found["curves"].items():
        ax.plot(range(len(grid)), metric.scale * np.array(curve["score"]), **look[family].line)
    ax.set_title(f"held-out training samples: {metric.head}")
    ax.set_xlabel("local steps")
    _steps(ax, grid)


def _amounts(ax: Any, found: dict[str, Any], grid: np.ndarray, look: Any) -> None:
    samples, steps = np.array(found["samples"], float), np.array(found["amount_steps"])
    place = np.searchsorted(grid, steps)
    for number, family in enumerate(found["families"]):
        own = (np.array(found["amount_family"]) == number) & (samples > 0)
        if own.any():
            ax.plot(samples[own], place[own], look[family].marker, color=look[family].color, alpha=0.6, markersize=4)
    ax.set_xscale("log")
    plain_log(ax.xaxis)
    shown = range(0, len(grid), 1 if len(grid) < 9 else 2)
    ax.set_yticks(list(shown), [f"{grid[i]:g}" for i in shown])
    ax.set_ylim(-0.5, len(grid) - 0.5)
    ax.set_title("what each client walks")
    ax.set_xlabel("training samples")
    ax.set_ylabel("local steps")


def _beliefs(ax: Any, found: dict[str, Any], grid: np.ndarray) -> None:
    names = [f"client {one['client']} ({one['samples']} samples)" for one in found["r"]]
    own = looks(names)
    for name, one in zip(names, found["r"], strict=True):
        mass = np.sum(one["mass"], 0)
        ax.plot(range(len(grid)), mass, label=name, marker=own[name].marker, **own[name].line)
    ax.set_ylim(-0.03, 1.03)
    ax.set_title("how sure some clients are of their amount (r)")
    ax.set_xlabel("local steps")
    _steps(ax, grid)
    if names:
        ax.legend(loc="best")


def _strengths(ax: Any, found: dict[str, Any]) -> None:
    k, share = np.array(found["pi"]["k"], float).T
    ax.plot(k, share, color="#0072B2", marker="o", markersize=3)
    low, high = found["k_between"]
    ax.axvspan(low / 1.1, high * 1.1, color="#D55E00", alpha=0.2)
    ax.set_xscale("log")
    plain_log(ax.xaxis)
    ax.set_ylim(bottom=0)
    ax.set_title("share of the population by k (pi; shaded: the choice for all)")
    ax.set_xlabel("k, samples")


def _way(ax: Any, found: dict[str, Any]) -> None:
    samples = np.array([n for n in found["samples"] if n > 0], float)
    n = np.geomspace(max(1, samples.min() / 2), 2 * samples.max(), 60) if len(samples) else np.geomspace(1, 100, 60)
    low, high = found["k_between"]
    ax.fill_between(n, n / (n + high), n / (n + low), color="#D55E00", alpha=0.2)
    if high < 2 * low:
        ax.plot(n, n / (n + found["k"]), color="#D55E00")
    ax.set_xscale("log")
    plain_log(ax.xaxis)
    ax.set_ylim(-0.03, 1.03)
    ax.set_title("way to the client's own model, n/(n + k)")
    ax.set_xlabel("training samples n")
