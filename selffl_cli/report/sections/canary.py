"""What `audit canary-text` read back of a planted command: a table, and a picture against how often it stood there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ...metrics.intervals import t_interval
from ...runs.audits import read_audits
from ..pictures.style import COLUMN, PAGE, figure, legend_above, looks, save, svg_link
from ..safe_text import markdown

if TYPE_CHECKING:
    from ..results import Results

MODELS = {"global": "global", "owner": "personal, of the owner", "others": "personal, of others"}
FIGURES = ("digits", "exact", "hamming", "rank")
TIMES = "data.canary"  # how often the command stands in its owner's texts
GUESSING = 0.1
TEXT = (
    "Means over seeds. Share of the code's digits found (guessing: 0.1), exact recovery (0.0001), Hamming distance "
    "(3.6), and the planted code's rank by the model's own loss among all 10,000 (about 5,000)."
)
HEAD = "| method | model | digits | exact | Hamming | rank |\n|---|---|---:|---:|---:|---:|"


def read_back(results: Results) -> pd.DataFrame:
    """A row for each run and kind of model that was attacked: setting, label, seed, times planted,
    model and the four figures."""
    rows = []
    for run in results.finished:
        found = read_audits(run.folder.path)
        for model in MODELS:
            if f"canary-text.{model}.digits" in found:
                figures = [float(found[f"canary-text.{model}.{name}"]) for name in FIGURES]
                times = run.folder.record["data"]["arguments"].get("canary")
                rows.append((run.setting, run.label, run.seed, times, model, *figures))
    return pd.DataFrame(rows, columns=["setting", "label", "seed", "times", "model", *FIGURES])


def planted_section(results: Results, folder: Path) -> str:
    """Markdown with a picture in `folder`; "" when no command was looked for."""
    frame = read_back(results)
    if frame.empty:
        return ""
    lines = []
    for setting in results.settings:
        for label in results.labels:
            for model, words in MODELS.items():
                own = frame[(frame["setting"] == setting) & (frame["label"] == label) & (frame["model"] == model)]
                if len(own):
                    digits, exact, hamming, rank = own[list(FIGURES)].mean()
                    name = markdown(f"{setting} {label}".strip())
                    lines.append(f"| {name} | {words} | {digits:.2f} | {exact:.2f} | {hamming:.2f} | {rank:,.0f} |")
    picture = (
        f"![planted]({draw(results, frame, folder)}.png)\n\nShare of the code's digits found against how often the "
        "command stands in its owner's texts; mean over seeds with 95 % t interval, cut off at 0 and 1."
        f"{svg_link('planted')}"
    )
    return "\n\n".join(["### A planted command, read back", TEXT, "\n".join([HEAD, *lines]), picture])


def draw(results: Results, frame: pd.DataFrame, folder: Path) -> str:
    """Digits found against the times planted, a line a kind of model and a panel a method."""
    labels = [label for label in results.labels if label in set(frame["label"])]
    places = [setting for setting in results.settings if setting in set(frame["setting"])]
    times = frame.groupby("setting")["times"].first()  # of places that differ in nothing else
    ticks = [str(times[s]) if set(results.settings[s]) <= {TIMES} else s for s in places]
    look = looks(list(MODELS.values()))
    with figure(1, len(labels), max(COLUMN + 1, min(PAGE, 2.4 * len(labels))), 2.9, sharey=True) as (fig, axes):
        for ax, label in zip(axes.flat, labels, strict=True):
            for number, (model, words) in enumerate(MODELS.items()):
                own = frame[(frame["label"] == label) & (frame["model"] == model)]
                found = [(place, own.loc[own["setting"] == setting, "digits"]) for place, setting in enumerate(places)]
                known = [(place + 0.06 * (number - 1), t_interval(values)) for place, values in found if len(values)]
                means = [interval.mean for _, interval in known]
                halves = [0.0 if interval.withheld else interval.half for _, interval in known]
                reach = [[min(half, m) for half, m in zip(halves, means, strict=True)],
                         [min(half, 1 - m) for half, m in zip(halves, means, strict=True)]]  # fmt: skip
                ax.errorbar(
                    [x for x, _ in known], means, yerr=reach, label=words, marker=look[words].marker, capsize=2,
                    elinewidth=0.8, **look[words].line,
                )  # fmt: skip
            ax.axhline(GUESSING, color="#666666", linewidth=0.8, linestyle="--", label="guessing")
            ax.set_xticks(range(len(places)), ticks)
            ax.set_xlabel("times the command stands there")
            ax.set_ylim(-0.05, 1.05)
            ax.set_title(label if len(labels) > 1 else "")
        axes[0, 0].set_ylabel("share of digits found")
        legend_above(fig, axes)
        return save(fig, folder, "planted")
