"""Sweeps: each method's best setting by its validation figures, and a table of two keys that can be read across."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..compare import Summary, higher_is_better
from ..results import Results, short_text
from ..safe_text import markdown
from .registry import extra

if TYPE_CHECKING:
    from ...metrics.intervals import Interval

MARK = "‡"


@extra
def best_setting_section(results: Results, folder: Path) -> str:
    """Markdown, or "" without a sweep or without validation figures."""
    summary = Summary(results, "rounds")
    best = best_settings(results, summary)
    if not best:
        return ""
    lines = [
        "### The best setting of each method",
        "",
        "Chosen by the mean figure of the personal models on the validation part, at equal rounds. The test figure of "
        "the chosen setting stands beside it; it took no part in the choice. ± is the half-width of the 95 % interval "
        "over seeds.",
        "",
        "| method | best setting on validation | validation | test |",
        "|---|---|---:|---:|",
    ]
    for label, setting in best.items():
        cells = [_shown(results, summary, setting, label, f"{part}.personal") for part in ("validation", "test")]
        lines.append(f"| {markdown(label)} | {markdown(setting)} | {' | '.join(cells)} |")
    tables = _two_keys(results, summary, best)
    return "\n".join([*lines, *tables])


def best_settings(results: Results, summary: Summary) -> dict[str, str]:
    """{label: the setting with the best mean validation figure}, of methods that have two settings or more."""
    what = f"validation.personal.{results.metric}"
    if len(results.settings) < 2 or what not in summary.whats:
        return {}
    sign = 1 if higher_is_better(results, what) else -1
    best: dict[str, str] = {}
    for label in results.labels:
        found = [(setting, summary.interval(setting, label, what)) for setting in results.settings]
        means = {setting: sign * interval.mean for setting, interval in found if interval is not None}
        if len(means) > 1:
            best[label] = max(means, key=lambda setting: means[setting])
    return best


def _shown(results: Results, summary: Summary, setting: str, label: str, where: str) -> str:
    what = f"{where}.{results.metric}"
    interval = summary.interval(setting, label, what)
    return "–" if interval is None else _with_half(results, interval, what)


def _with_half(results: Results, interval: Interval, what: str) -> str:
    text = results.show(interval.mean, what)
    return text if interval.withheld else f"{text} ± {results.show_half(interval.half, interval.mean, what)}"


def _two_keys(results: Results, summary: Summary, best: dict[str, str]) -> list[str]:
    """One table a method, a row for each value of the first key and a column for each of the second."""
    keys = list(dict.fromkeys(key for setting in results.settings.values() for key in setting))
    if len(keys) != 2:
        return []
    rows, columns = (_values(results, key) for key in keys)
    names = [key.rpartition(".")[2] for key in keys]
    lines = []
    for label, chosen in best.items():
        head = " | ".join(f"{names[1]} = {markdown(short_text(value))}" for value in columns)
        title = f"#### {markdown(label)}: test figures by {names[0]} and {names[1]} ({MARK}: the best on validation)"
        lines += ["", title, "", f"| {names[0]} | {head} |", "|---|" + "---:|" * len(columns)]
        for row in rows:
            cells = [_at(results, summary, label, {keys[0]: row, keys[1]: column}, chosen) for column in columns]
            lines.append(f"| {markdown(short_text(row))} | {' | '.join(cells)} |")
    return lines


def _values(results: Results, key: str) -> list[Any]:
    found: list[Any] = []
    for setting in results.settings.values():
        if key in setting and setting[key] not in found:
            found.append(setting[key])
    return found


def _at(results: Results, summary: Summary, label: str, values: dict[str, Any], chosen: str) -> str:
    name = next((name for name, setting in results.settings.items() if setting == values), None)
    if name is None:
        return "–"
    text = _shown(results, summary, name, label, "test.personal")
    return f"**{text}**{MARK}" if name == chosen else text
