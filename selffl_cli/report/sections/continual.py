"""Continual learning: what each memory is worth against its size, and what is forgotten of each period."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ...metrics.intervals import Interval, t_interval
from ..pictures.style import COLUMN, PAGE, figure, hide_unused, legend_above, looks, save, svg_link
from ..results import SIZE, Results
from ..tables import Cell, Table, table_markdown, write_csv
from .registry import extra


def memories(results: Results) -> pd.DataFrame:
    """A row a run over periods: label, seed, size (NaN without one), memory, kind (the method), rounds of a period."""
    rows = []
    for run in results.finished:
        record = run.folder.record
        train = record["train"]
        if train.get("periods"):
            size = results.settings[run.setting].get(SIZE, train.get("memory_size"))
            kind = record["method"]["name"]
            rows.append((run.label, run.setting, run.seed, size, train["memory"], kind, train["rounds"]))
    return pd.DataFrame(rows, columns=["label", "setting", "seed", "size", "memory", "kind", "rounds"])


def judged(results: Results) -> str:
    """The figure that is compared: the global model's on all periods' test samples, personal ones' without one."""
    known = set(results.points["what"])
    return next(w for w in (f"test.global.{results.metric}", f"test.personal.{results.metric}") if w in known)


def named(results: Results) -> str:
    """The figure's name without its unit, since changes are in per cent of it."""
    return results.metric.words


def relative(results: Results) -> pd.DataFrame:
    """Change of the figure against no memory, same method and seed: label, size, seed, change (0.1 = 10 % more)."""
    runs, what = memories(results), judged(results)
    points = results.points[results.points["what"] == what].sort_values("round", kind="stable")
    last = points.groupby(["label", "setting", "seed"], as_index=False)["value"].last()
    runs = runs.merge(last, on=["label", "setting", "seed"])
    base = runs[runs["memory"] == "none"].drop_duplicates(["kind", "seed"])[["kind", "seed", "value"]]
    runs = runs.merge(base, on=["kind", "seed"], suffixes=("", "_none"))
    return runs.assign(change=runs["value"] / runs["value_none"] - 1)


def forgetting(results: Results) -> pd.DataFrame:
    """Change of the figure on each period's test samples from that period's end to the end of training: label, size,
    seed, period (from 1), change."""
    runs = memories(results)
    model = judged(results).split(".")[1]
    frames = []
    for period in range(1, 1001):
        points = results.points[results.points["what"] == f"period-{period}.{model}.{results.metric}"]
        if points.empty:
            break
        own = points.merge(runs, on=["label", "setting", "seed"])
        final = own.sort_values("round").groupby(["label", "setting", "seed"], as_index=False).last()
        then = own[own["round"] == period * own["rounds"]]
        then = then[["label", "setting", "seed", "value"]]
        both = final.merge(then, on=["label", "setting", "seed"], suffixes=("", "_then"))
        both = both.assign(period=period, change=both["value"] / both["value_then"] - 1)
        frames.append(both[["label", "size", "memory", "seed", "period", "change"]])
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


def _interval(values: pd.Series) -> Interval | None:
    known = values[np.isfinite(values)].to_numpy()
    return t_interval(known) if len(known) else None


def _cell(values: pd.Series) -> Cell:
    found = _interval(values)
    if found is None:
        return Cell("–")
    return Cell(f"{100 * found.mean:+.1f}", "" if found.withheld else f"{100 * found.half:.1f}")


def by_size(results: Results, frame: pd.DataFrame) -> Table:
    sizes = sorted(frame["size"].dropna().unique())
    rows = []
    for label in results.labels:
        own = frame[frame["label"] == label]
        if own.empty or own["memory"].iloc[0] == "none":
            continue
        sized = own["memory"].iloc[0] != "all"
        rows.append([Cell(label), *(_cell(own[own["size"] == n]["change"] if sized or n in set(own["size"])
                                          else own["change"]) for n in sizes)])  # fmt: skip
    title = f"Change of {named(results)} against no memory (%), by samples kept a client"
    return Table("replay", title, ["method", *(f"N = {n:g}" for n in sizes)], rows)


def draw_sizes(results: Results, frame: pd.DataFrame, folder: Path) -> str:
    """The paper's figure: relative change against N, a line a memory; `all` needs no size and is drawn across."""
    look = looks(results.labels)
    with figure(1, 1, COLUMN + 1, 3.2) as (fig, axes):
        ax = axes[0, 0]
        ax.axhline(0, color="#666666", linewidth=0.8)
        sizes = sorted(frame["size"].dropna().unique())
        for number, label in enumerate(results.labels):
            own = frame[frame["label"] == label]
            if own.empty or own["memory"].iloc[0] == "none":
                continue
            if own["memory"].iloc[0] == "all":
                ax.axhline(100 * own["change"].mean(), label=label, **look[label].line)
                continue
            found = {n: interval for n in sizes if (interval := _interval(own[own["size"] == n]["change"]))}
            shift = 1 + 0.015 * (number - len(results.labels) / 2)  # so that intervals do not hide each other
            ax.errorbar(
                [n * shift for n in found], [100 * i.mean for i in found.values()],
                yerr=[0 if i.withheld else 100 * i.half for i in found.values()], label=label,
                marker=look[label].marker, capsize=2, elinewidth=0.8, **look[label].line,
            )  # fmt: skip
        if len(sizes) > 1:
            ax.set_xscale("log")
        ax.set_xticks(sizes, [f"{n:g}" for n in sizes])
        ax.minorticks_off()
        ax.set_xlabel("samples kept a client, N")
        ax.set_ylabel(f"{named(results)} against no memory (%)")
        legend_above(fig, axes, 3)
        return save(fig, folder, "replay")


def draw_forgetting(results: Results, frame: pd.DataFrame, folder: Path) -> str:
    """A panel a memory size, a line a memory, over periods."""
    look = looks(results.labels)
    sizes = sorted(frame["size"].dropna().unique()) or [np.nan]
    columns = min(3, len(sizes))
    rows = -(-len(sizes) // columns)
    with figure(rows, columns, PAGE, 0.8 + 2.2 * rows, sharey=True) as (fig, axes):
        for ax, size in zip(axes.flat, sizes, strict=False):
            ax.axhline(0, color="#666666", linewidth=0.8)
            for label in results.labels:
                own = frame[(frame["label"] == label) & ((frame["size"] == size) | frame["size"].isna())]
                means = 100 * own.groupby("period")["change"].mean()
                if len(means):
                    ax.plot(means.index, means, label=label, marker=look[label].marker, **look[label].line)
            ax.set_title("" if np.isnan(size) else f"N = {size:g}")
            ax.set_xlabel("period")
            ax.set_xticks(sorted(frame["period"].unique()))
        hide_unused(axes, len(sizes))
        for ax in axes[:, 0]:
            ax.set_ylabel(f"change of {named(results)} since (%)")
        legend_above(fig, axes)
        return save(fig, folder, "forgetting")


@extra
def replay_section(results: Results, folder: Path) -> str:
    """Markdown, with replay.csv, forgetting.csv and two pictures in `folder`; "" without periods."""
    if memories(results).empty:
        return ""
    text = ["### Memory over periods"]
    change, lost = relative(results), forgetting(results)
    if not change.empty and change["size"].notna().any():
        columns = ["label", "size", "seed", "memory", "value", "value_none", "change"]
        write_csv(change[columns], folder / "replay.csv")
        text += [
            f"`{judged(results)}` at the end, over the test samples of all periods, against the same method and seed "
            "without a memory; 95 % t intervals over seeds of the paired change. "
            + ("Above 0 is better." if results.metric.higher_is_better else "Below 0 is better."),
            table_markdown(by_size(results, change)),
            f"![replay]({draw_sizes(results, change, folder)}.png)\n\nBy seed: [CSV](replay.csv){svg_link('replay')}",
        ]
    if not lost.empty:
        write_csv(lost, folder / "forgetting.csv")
        text.append(
            f"![forgetting]({draw_forgetting(results, lost, folder)}.png)\n\nForgetting: how the figure on a period's "
            "own test samples has changed from the end of that period to the end of training, mean over seeds. "
            f"[forgetting.csv](forgetting.csv){svg_link('forgetting')}"
        )
    return "\n\n".join(text)
