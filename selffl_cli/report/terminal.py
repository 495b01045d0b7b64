"""The table at the end of `selffl train`. Needs rich and numpy only: training imports nothing heavier."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from ..runs import RunFolder

Group = tuple[str, str]  # setting, label


def final_table(runs: Sequence[RunFolder], current: Collection[str] = ()) -> Table:
    """Finished runs of an experiment, one row a method (and setting): means over seeds of the last evaluation.

    `current` are the labels that were just run; their rows are marked. Several folders of one method and seed: the
    last one started counts. Fits 80 columns. Intervals are `selffl report`'s business.
    """
    groups = _group(runs)
    swept = any(setting for setting, _ in groups)
    finals = [final for rows in groups.values() for final in rows if final]
    error = any("squared_error" in figures for final in finals for models in final.values() for figures in models.values())
    metric, scale = ("squared_error", 1.0) if error else ("accuracy", 100.0)
    table = Table(
        title=f"Finished runs: {'squared error' if error else 'accuracy (%)'}, mean over seeds", title_justify="left",
        caption="→ just run; worst tenth: mean over the worst 10 % of clients" if current else None,
        caption_justify="left", collapse_padding=True,
    )
    if swept:
        table.add_column("setting", overflow="fold")
    table.add_column("method", overflow="fold", min_width=10)
    table.add_column("seeds", justify="right")
    columns = [
        ("test", "personal", metric, ""), ("test", "global", metric, ""),
        ("test", "personal", "worst_tenth", "worst tenth\n"), ("test", "global", "worst_tenth", "worst tenth\n"),
        ("train", "personal", metric, ""), ("train", "global", metric, ""),
    ]
    columns = [c for c in columns if any(_figure(final, *c[:3]) is not None for final in finals)]
    for part, model, _, words in columns:
        table.add_column(f"{words or part + chr(10)}{model}", justify="right", no_wrap=True)
    for (setting, label), rows in groups.items():
        done = [final for final in rows if final]
        lost = len(rows) - len(done)
        cells = [_mean([_figure(final, *column[:3]) for final in done], scale) for column in columns]
        seeds = str(len(done)) + (f"\n{lost} diverged" if lost else "")
        name = f"[bold]→ {escape(label)}[/]" if label in current else f"  {escape(label)}"
        table.add_row(*([escape(setting)] if swept else []), name, seeds, *cells)
    return table


def _group(runs: Sequence[RunFolder]) -> dict[Group, list[dict[str, Any] | None]]:
    """Last evaluations by (setting, label), in the order given; None for a diverged run."""
    latest: dict[tuple[str, str, int], RunFolder] = {}
    for run in runs:
        if run.result is None:
            continue
        record = run.record
        setting = ", ".join(f"{key.rpartition('.')[2]}={value}" for key, value in record.get("setting", {}).items())
        place = (setting, record["label"], int(record["seed"]))
        if place not in latest or _started(run) >= _started(latest[place]):
            latest[place] = run
    groups: dict[Group, list[dict[str, Any] | None]] = {}
    for (setting, label, _), run in latest.items():
        result = run.result or {}
        final = None if result.get("status") == "diverged" else result.get("final")
        groups.setdefault((setting, label), []).append(final)
    return groups


def _started(run: RunFolder) -> tuple[str, str]:
    return str(run.environment.get("started", "")), run.path.name


def _figure(final: dict[str, Any], part: str, model: str, metric: str) -> float | None:
    return final.get(part, {}).get(model, {}).get(metric)


def _mean(values: Sequence[float | None], scale: float) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    mean = scale * float(np.mean(known))
    return f"{mean:.1f}" if scale == 100.0 else f"{mean:.3g}"
