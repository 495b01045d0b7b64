"""What uncertainty does over the rounds, and who gains from personalisation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..compare import Summary
from ..figures.fairness import client_scores
from ..results import Results
from .series import over_seeds
from .style import PAGE, Look, figure, hide_unused, legend_above, looks, lowest, plain_log, save


def uncertainty(results: Results, out: Path) -> str | None:
    """s0, the spread of s_m and of steps over the participants, and the clipped share, over rounds."""
    if len(results.settings) > 1:
        return None  # a sweep shows their last values against its key instead
    setting = next(iter(results.settings))
    recorded = set(results.points["what"])
    with_variance = set(results.spread.loc[results.spread["name"] == "variance", "label"])
    labels = [
        label
        for label in results.labels
        if label in with_variance or not over_seeds(results, label, setting, "method.s0", "rounds").empty
    ]
    if not labels:
        return None
    look = looks(results.labels)
    with figure(2, 2, PAGE, 4.6, sharex=True) as (fig, axes):
        (s0, variance), (steps, clipped) = axes
        for label in labels:
            _scalar(s0, results, label, setting, "method.s0", look[label])
            _quantiles(variance, results, label, "variance", look[label])
            _quantiles(steps, results, label, "steps", look[label])
            if "method.clipped" in recorded:
                _scalar(clipped, results, label, setting, "method.clipped", look[label], scale=100)
        _log(s0)
        _log(variance)
        s0.set_title("inter-client variance $s_0$")
        variance.set_title("intra-client variances $s_m$: median, 10–90 %")
        steps.set_title("local steps: median, 10–90 % of participants")
        clipped.set_title("participants with clipped steps (%)")
        clipped.set_ylim(-2, 102)
        clipped.set_visible("method.clipped" in recorded)
        steps.set_ylim(bottom=0)
        for ax in axes[1]:
            ax.set_xlabel("round")
        legend_above(fig, axes)
        return save(fig, out, "uncertainty")


def _scalar(ax: Any, results: Results, label: str, setting: str, what: str, look: Look, scale: float = 1) -> None:
    band = over_seeds(results, label, setting, what, "rounds")
    if band.empty:
        return
    ax.plot(band["x"], scale * band["mean"], label=label, **look.line)
    low = (band["mean"] - band["half"]).clip(lower=0 if scale == 100 else band["mean"] / 10)
    if band["half"].notna().any():
        ax.fill_between(
            band["x"],
            scale * low,
            scale * (band["mean"] + band["half"]),
            color=look.color,
            alpha=0.15,
            linewidth=0,
        )


def _quantiles(ax: Any, results: Results, label: str, name: str, look: Look) -> None:
    rows = results.spread[(results.spread["label"] == label) & (results.spread["name"] == name)]
    if rows.empty:
        return
    mean = rows.groupby("round")[["low", "median", "high"]].mean()
    ax.plot(mean.index, mean["median"], label=label, **look.line)
    ax.fill_between(mean.index, mean["low"], mean["high"], color=look.color, alpha=0.15, linewidth=0)


def _log(ax: Any) -> None:
    values = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in ax.get_lines()] or [np.empty(0)])
    if values.size and (values > 0).all():
        ax.set_yscale("log")
        plain_log(ax.yaxis)


def client_gain(results: Results, label: str, setting: str) -> pd.DataFrame:
    """n_train and gain (personal minus global test accuracy in points, or error) of each client and seed."""
    metric, frames = results.metric, []
    for run in results.finished:
        if run.label != label or run.setting != setting:
            continue
        clients = client_scores(run, metric)
        if not {"personal", "global"} <= set(clients.columns):
            continue
        clients = clients.dropna(subset=["personal", "global"])
        gain = metric.scale * (clients["personal"] - clients["global"])
        frames.append(pd.DataFrame({"n_train": clients["n_train"], "gain": gain}))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["n_train", "gain"])


def gains(results: Results, out: Path) -> str | None:
    """Personal minus global accuracy of each client against its size, one panel a method, with the running
    median."""
    if len(results.settings) > 1:
        return None
    setting = next(iter(results.settings))
    found = [(label, client_gain(results, label, setting)) for label in results.labels]
    found = [(label, frame) for label, frame in found if not frame.empty]
    if not found:
        return None
    look = looks(results.labels)
    columns = min(3, len(found))
    rows = -(-len(found) // columns)
    unit = results.metric.unit
    sizes = pd.concat([frame["n_train"] for _, frame in found])
    alike = _alike(sizes)
    across = "training samples of the client"
    if alike:
        least, most = int(sizes.min()), int(sizes.max())
        across = f"clients of {least if least == most else f'{least} to {most}'} training samples each"
    with figure(rows, columns, PAGE if columns > 1 else 3.5, 0.4 + 1.8 * rows, sharex=True, sharey=True) as (
        fig,
        axes,
    ):
        for ax, (label, frame) in zip(axes.flat, found, strict=False):
            ax.scatter(
                np.arange(len(frame)) if alike else frame["n_train"],
                frame["gain"],
                s=7,
                color=look[label].color,
                alpha=0.35,
                linewidths=0,
                rasterized=True,
            )
            if alike:
                ax.axhline(frame["gain"].median(), color="black", linewidth=1.3)
                ax.set_xticks([])
            else:
                middle = running_median(frame)
                ax.plot(middle["n_train"], middle["gain"], color="black", marker="o", markersize=3)
            ax.axhline(0, color="#666666", linewidth=0.8)
            better, worse = (100 * share for share in (frame["gain"].gt(0).mean(), frame["gain"].lt(0).mean()))
            if not results.metric.higher_is_better:
                better, worse = worse, better
            ax.set_title(f"{label}: {better:.0f} % gain, {worse:.0f} % lose")
            if not alike and frame["n_train"].max() > 10 * max(frame["n_train"].min(), 1):
                ax.set_xscale("log")
                plain_log(ax.xaxis)
        hide_unused(axes, len(found))
        for ax in axes[:, 0]:
            ax.set_ylabel(f"personal − global ({unit})")
        for ax in lowest(axes, len(found)):
            ax.tick_params(labelbottom=not alike)
        fig.supxlabel(across, fontsize=8)
        return save(fig, out, "clients")


def _alike(sizes: pd.Series) -> bool:
    """Whether clients are so alike in size that their points would cover each other."""
    return bool(sizes.max() <= 1.25 * max(sizes.min(), 1))


def running_median(frame: pd.DataFrame, groups: int = 6) -> pd.DataFrame:
    """Median size and gain in up to `groups` groups of clients of similar size."""
    bins = pd.qcut(frame["n_train"], min(groups, frame["n_train"].nunique()), labels=False, duplicates="drop")
    return frame.groupby(bins)[["n_train", "gain"]].median()


def worst_tenth(results: Results, summary: Summary, out: Path) -> str | None:
    """Mean test figure of the worst tenth of clients, personal and global, with 95 % intervals over seeds."""
    if len(results.settings) > 1:
        return None
    setting = next(iter(results.settings))
    labels = [
        label
        for label in results.labels
        if any(summary.interval(setting, label, f"test.{m}.worst_tenth") for m in ("personal", "global"))
    ]
    if not labels:
        return None
    scale = results.metric.scale
    with figure(1, 1, 3.5, 0.9 + 0.36 * len(labels)) as (fig, axes):
        ax = axes[0, 0]
        for offset, model, colour, hatch in (
            (-0.19, "personal", "#0072B2", ""),
            (0.19, "global", "#E69F00", "////"),
        ):
            for row, label in enumerate(labels):
                interval = summary.interval(setting, label, f"test.{model}.worst_tenth")
                if interval is None:
                    continue
                ax.barh(
                    row + offset,
                    scale * interval.mean,
                    0.36,
                    color=colour,
                    hatch=hatch,
                    edgecolor="white",
                    linewidth=0,
                    xerr=None if interval.withheld else scale * interval.half,
                    label=model,
                    error_kw={"linewidth": 1, "capsize": 2},
                )
        ax.set_yticks(range(len(labels)), labels)
        ax.invert_yaxis()
        ax.grid(axis="y", visible=False)
        ax.set_xlabel(f"test {results.metric.head} of the worst tenth of clients")
        legend_above(fig, axes)
        return save(fig, out, "worst-tenth")
