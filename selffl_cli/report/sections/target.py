"""How soon a method reaches the figure that the experiment names beforehand (`[report] target`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..figures.target import FIGURES
from ..safe_text import markdown

if TYPE_CHECKING:
    from ..results import Results


def target_section(results: Results, folder: Path) -> str:
    """Markdown, or "" when the experiment names no target."""
    asked = results.experiment.report
    if asked.target is None:
        return ""
    swept = len(results.settings) > 1
    shown = results.show(asked.target, asked.target_figure) + (" %" if results.percent(asked.target_figure) else "")
    lines = [
        "### How soon the target is reached",
        "",
        f"The first evaluation at which {markdown(asked.target_figure)} is at {shown} or beyond, over the seeds that "
        "got there: mean (smallest to largest). The target was set beforehand, in the experiment's TOML.",
        "",
        "| " + ("setting | " if swept else "") + "method | seeds that got there | rounds | gradient evaluations |",
        "|" + "---|" * (swept + 1) + "---:|---:|---:|",
    ]
    points = results.points
    for setting in results.settings:
        for label in results.labels:
            runs = [run for run in results.finished if run.label == label and run.setting == setting]
            own = points[(points["label"] == label) & (points["setting"] == setting)]
            found = [own.loc[own["what"] == f"method.{name}", "value"] for name in FIGURES]
            cells = [f"{v.mean():,.0f} ({v.min():,.0f} to {v.max():,.0f})" if len(v) else "–" for v in found]
            if runs:
                place = f"{markdown(setting)} | {markdown(label)}" if swept else markdown(label)
                lines.append(f"| {place} | {len(found[0])} of {len(runs)} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines)
