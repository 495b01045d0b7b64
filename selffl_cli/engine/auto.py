"""Which engine trains a run: as asked, or by measurement.

`engines.json` holds how many times faster the stacked engine was than the sequential one in whole rounds, by device
and model, at several numbers of parameters. `selffl doctor --measure` measures it anew for this machine and keeps
it in the cache folder, where it comes before the table of the package.

The engine is not part of a run's hash, as the device and the number of workers are not: all compute the same
formulas and differ in the order of floating-point sums (1e-9 in float64; in float32 1e-5 after a round). Each is the
same to the bit for any number of workers on the CPU. Which one ran stands in environment.json, and a run that is
resumed keeps the one it began with.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from math import log
from pathlib import Path
from typing import Any, Literal

from ..errors import UsageError
from ..machine.cache import default_cache

Engine = Literal["auto", "sequential", "stacked"]
PACKAGED = Path(__file__).with_name("engines.json")
WORTH = 1.3  # how many times faster stacking must have been: less is within what machines and data differ by


@dataclass(frozen=True)
class Choice:
    """An engine, and how many times faster than the sequential one it is expected to be."""

    name: Literal["sequential", "stacked"]
    ratio: float = 1.0


def choose(asked: Engine, model: str, parameters: int, device: str) -> Choice:
    """The engine for a model of `parameters` on `device` ("cpu", "cuda").

    What was not measured is stacked on a GPU, where a small batch is all launches, and sequential on the CPU.
    """
    ratio = measured_ratio(table().get(device, {}).get("ratios", {}).get(model, []), parameters)
    if asked == "auto":
        fast = ratio >= WORTH if ratio is not None else device == "cuda"
        asked = "stacked" if fast else "sequential"
    return Choice(asked, 1.0 if asked == "sequential" else ratio or 1.0)


def resumed_engine(made_by: dict[str, Any], device: str) -> Engine:
    """The engine of a checkpoint (its `made_by`), where the run goes on on the same kind of device."""
    same = (made_by.get("device", "cpu") == "cpu") == (device == "cpu")
    return made_by.get("engine", "sequential") if same else "auto"


def measured_ratio(points: list[list[float]], parameters: int) -> float | None:
    """Between measured points [parameters, ratio] by interpolation over log parameters; None without points."""
    points = sorted(points)
    if not points:
        return None
    if parameters <= points[0][0]:
        return points[0][1]
    for (low, before), (high, after) in pairwise(points):
        if parameters <= high:
            return before + (after - before) * log(parameters / low) / log(high / low)
    return points[-1][1]


def own_table() -> Path:
    """Where this machine's own measurements are kept."""
    return default_cache() / "engines.json"


def table() -> dict[str, Any]:
    """{device: {"ratios": {model: [[parameters, ratio], …]}, …}}: this machine's where there is one."""
    merged = json.loads(PACKAGED.read_text(encoding="utf-8"))
    own = own_table()
    try:
        measured = json.loads(own.read_text(encoding="utf-8")) if own.is_file() else {}
        for device in measured.values():
            for points in device["ratios"].values():
                measured_ratio([[float(a), float(b)] for a, b in points], 1)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise UsageError(
            f"{own}: not a table of engines; delete it, or redo it with: selffl doctor --measure"
        ) from None
    return {**merged, **measured}
