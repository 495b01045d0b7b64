"""Figures that no run can have: a checksum says that a file is as it was written, not that it tells the truth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from ..metrics.judged_by import ACCURACY, SPREAD, main_metric
from ..metrics.metric import Metric, Recorded
from .folder import RunFolder

DELIVERED = "delivered"
COUNTED = ("gradients", "bytes_up", "bytes_down")  # over all rounds so far


def impossible(folder: RunFolder, lines: list[dict[str, Any]]) -> str:
    """The first thing in a finished run's figures that cannot be, in words; "" when there is none."""
    result = folder.result or {}
    further = {facts["name"]: Recorded(facts) for facts in result.get("metrics", [])}
    found = _rounds(lines) or next(filter(None, (_line(line, further) for line in lines)), "") or _clients(folder)
    found = found or _line({"eval": delivered_of(result), "round": result.get("round")}, further)
    if found or result.get("status") != "finished":
        return found
    return _end(folder.record["train"], lines, result)


def delivered_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of delivered models, which no round's line has, by part."""
    final = result.get("final", {})
    return {part: {DELIVERED: models[DELIVERED]} for part, models in final.items() if DELIVERED in models}


def _rounds(lines: list[dict[str, Any]]) -> str:
    for before, after in pairwise(lines):
        if after["round"] <= before["round"]:
            return f"round {after['round']} comes after round {before['round']}"
        for name in COUNTED:
            if (after.get(name) or 0) < (before.get(name) or 0):
                return f"{name} fall in round {after['round']}"
    return ""


def _line(line: Mapping[str, Any], further: Mapping[str, Metric]) -> str:
    for part, models in line.get("eval", {}).items():
        for model, figures in models.items():
            for name, value in figures.items():
                if value is not None and not _may_be(name, value, further.get(name) or main_metric(figures)):
                    return f"{part}.{model}.{name} is {value:g} in round {line['round']}"
    return ""


def _may_be(name: str, value: float, main: Metric) -> bool:
    return not (name == main.name or (main.percent and name in SPREAD)) or main.may_be(value)


def _end(train: Mapping[str, Any], lines: list[dict[str, Any]], result: Mapping[str, Any]) -> str:
    """Whether the rounds reach to the end, and the last evaluation is the run's result."""
    last = lines[-1]["round"] if lines else 0
    if last != result["round"]:
        return f"the result is of round {result['round']}, the last one recorded is {last}"
    rounds = train.get("rounds", last)
    if type(rounds) is not int or rounds < 1:
        return f"its record asks for '{rounds}' rounds"
    whole = last % rounds == 0 and last > 0 if train.get("periods") else last == rounds
    if not whole and train.get("stop_at") is None:
        return f"it is finished after {last} of {rounds} rounds"
    for part, models in result.get("final", {}).items():
        evaluated = {name: figures for name, figures in models.items() if name != DELIVERED}  # made after it
        if part != "new" and not _same(evaluated, lines[-1].get("eval", {}).get(part, {})):
            return f"the result's figures of {part} are not those of the last evaluation"
    return ""


def _same(one: Mapping[str, Mapping[str, Any]], other: Mapping[str, Mapping[str, Any]]) -> bool:
    return {**one} == {**other}


def _clients(folder: RunFolder) -> str:
    """Of clients: no more right answers than samples, and no error below 0."""
    table = folder.clients
    for column in table.column_names:
        part, _, rest = column.partition("_")
        kind = rest.rpartition("_")[2]
        if kind == ACCURACY.sum_column and f"n_{part}" in table.column_names:
            most: Iterable[Any] = table[f"n_{part}"].to_pylist()
            values = table[column].to_pylist()
            if any(
                v is not None and not math.isnan(v) and not -1e-6 <= v <= n + 1e-6
                for v, n in zip(values, most, strict=True)
            ):
                return f"a client has other than 0 to its number of samples right in '{column}'"
    return ""
