"""The table at the end of `selffl train`. Needs rich and numpy only: training imports nothing heavier."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ..metrics.judged_by import main_metric
from ..metrics.metric import Metric
from ..report.heads import head
from ..runs.folder import RunFolder

Final = dict[str, Any]  # the last evaluation of a run
Groups = dict[tuple[str, str], list[Final | None]]  # by setting and label, one a seed; None for a diverged run

SETTINGS_A_TABLE = 4


def final_table(runs: Sequence[RunFolder], current: Collection[str] = ()) -> RenderableType:
    """Finished runs of an experiment, one row a method: means over seeds of the last evaluation.

    `current` are the labels of which runs were trained now; their rows are marked. Several folders of one method,
    setting and seed: the last one started counts. For a sweep the main figure of personal models alone, a column a
    setting. Fits 80 columns. Intervals are `selffl report`'s business.
    """
    groups = _group(runs)
    finals = [final for rows in groups.values() for final in rows if final]
    main = main_metric({name for final in finals for models in final.values() for f in models.values() for name in f})
    settings = sorted({setting for setting, _ in groups}, key=_natural)
    labels = list(dict.fromkeys(label for _, label in groups))
    if len(settings) > 1:
        pieces = [settings[i : i + SETTINGS_A_TABLE] for i in range(0, len(settings), SETTINGS_A_TABLE)]
        return Group(*(_swept(groups, labels, piece, main, current) for piece in pieces))
    return _whole(groups, labels, settings[0] if settings else "", finals, main, current)


def _whole(
    groups: Groups,
    labels: list[str],
    setting: str,
    finals: list[Final],
    main: Metric,
    current: Collection[str],
) -> Table:
    """Test and training, personal and global, all samples and the worst tenth of clients."""
    columns = [
        (f"{part}\n{model}" if metric == main.name else f"worst\ntenth\n{model}", part, model, metric)
        for part, metric in (("test", main.name), ("test", "worst_tenth"), ("train", main.name))
        for model in ("personal", "global")
        if any(_figure(final, part, model, metric) is not None for final in finals)
    ]
    table = _table(f"Finished runs: {main.head}, mean over seeds", current)
    table.caption = (
        "→ trained now; " if current else ""
    ) + "worst tenth: mean test figure of the worst 10 % of clients"
    for name in ("seeds", *(column[0] for column in columns)):
        table.add_column(name, justify="right", no_wrap=True)
    for label in labels:
        rows = groups[setting, label]
        cells = [_mean(rows, *column[1:], main) for column in columns]
        table.add_row(_name(label, rows, current), str(sum(row is not None for row in rows)), *cells)
    return table


def _swept(groups: Groups, labels: list[str], settings: list[str], main: Metric, current: Collection[str]) -> Table:
    """Personal models on test, one column a setting."""
    table = _table(f"Personal models on test: {main.head}, mean over seeds", current)
    for setting in settings:
        table.add_column(head(setting), justify="right", no_wrap=True)
    for label in labels:
        rows = [groups.get((setting, label), []) for setting in settings]
        cells = [_mean(group, "test", "personal", main.name, main) for group in rows]
        table.add_row(_name(label, [row for group in rows for row in group], current), *cells)
    return table


def _table(title: str, current: Collection[str]) -> Table:
    table = Table(title=title, title_justify="left", caption_justify="left", collapse_padding=True)
    table.caption = "→ trained now" if current else None
    table.add_column("method", overflow="fold", min_width=12)
    return table


def _name(label: str, rows: Sequence[Final | None], current: Collection[str]) -> Text:
    lost = sum(row is None for row in rows)
    text = Text(f"→ {label}", "bold") if label in current else Text(f"  {label}")
    return Text.assemble(text, (f"\n  {lost} diverged", "red")) if lost else text


def _group(runs: Sequence[RunFolder]) -> Groups:
    """Last evaluations by setting and label, in the order given."""
    latest: dict[tuple[str, str, int], RunFolder] = {}
    for run in runs:
        record = run.record
        setting = ", ".join(f"{k.rpartition('.')[2]}={_value(v)}" for k, v in record.get("setting", {}).items())
        place = (setting, record["label"], int(record["seed"]))
        if place not in latest or _started(run) >= _started(latest[place]):
            latest[place] = run
    groups: Groups = {}
    for (setting, label, _), run in latest.items():
        result = run.result
        if result is not None:
            final = None if result.get("status") == "diverged" else result.get("final", {})
            groups.setdefault((setting, label), []).append(final)
    return groups


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _natural(setting: str) -> list[tuple[str, float, str]]:
    """Sorts "clients=5" before "clients=10", key by key."""
    order = []
    for item in setting.split(", "):
        key, _, value = item.partition("=")
        try:
            order.append((key, float(value), ""))
        except ValueError:
            order.append((key, 0.0, value))
    return order


def _started(run: RunFolder) -> tuple[str, str]:
    return str(run.environment.get("started", "")), run.path.name


def _figure(final: Final, part: str, model: str, metric: str) -> float | None:
    return final.get(part, {}).get(model, {}).get(metric)


def _mean(rows: Sequence[Final | None], part: str, model: str, metric: str, main: Metric) -> str:
    known = [value for row in rows if row for value in [_figure(row, part, model, metric)] if value is not None]
    if not known:
        return "–"
    mean = float(np.mean(known))
    return f"{100 * mean:.1f}" if main.percent else f"{mean:.3g}"
