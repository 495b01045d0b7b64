"""Every run below a folder, and where each one stands, from the run folders alone.

A list of a thousand runs must be quick: of a finished run the first lines of its record and its result are read, and
nothing else. What does not look as `selffl train` writes it is read in full, so that the fault is named.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ..config.names import TRIALS
from ..errors import SelfflError
from ..files.checksums import unseal
from ..files.regular import open_regular, read_regular
from ..files.toml import read_toml
from .names import METRICS, RECORD, RESULT

STATES = ("running", "stopped", "diverged", "finished", "damaged")
DEPTH = 2  # folders between the one that is asked for and a run: runs/EXPERIMENT/RUN
TAIL = 2**18  # bytes at the end of metrics.jsonl that are looked at
_ROUNDS = re.compile(r"\n\[train\]\n(?:[^\[][^\n]*\n|\n)*?rounds = (\d{1,9})\n")


def find(root: Path, experiments: Iterable[str] = (), trials: bool = False) -> list[Path]:
    """Every run folder in `root`, in order of experiment and name: `root` is one, or is one or two levels above."""
    wanted = set(experiments)
    found = (path for path in _records(str(root), DEPTH + trials, trials))
    runs = map(Path, sorted(found))
    return [run for run in runs if not wanted or _experiment_folder(run) in wanted]


def _experiment_folder(run: Path) -> str:
    above = run.parent
    return (above.parent if above.name == TRIALS else above).name


def _records(folder: str, depth: int, trials: bool) -> Iterator[str]:
    """Folders with a record, down to `depth` below `folder`. A run is never inside a run."""
    if os.path.lexists(os.path.join(folder, RECORD)):
        yield folder
        return
    if depth == 0:
        return
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir() and not entry.name.startswith(".") and (trials or entry.name != TRIALS):
            yield from _records(entry.path, depth - 1, trials)


def describe(path: Path) -> dict[str, Any]:
    """What is known of a run: "path", "experiment", "label", "seed", "setting", "state", "round", "rounds", "figures",
    "seconds", "seconds_left".

    state: finished, diverged, running (with "process"), stopped, or damaged (with "why"); it is running when a process
    holds its lock. figures: of the last evaluation on the test data, {"global": {…}, "personal": {…}}. seconds: of
    training so far; seconds_left: what the remaining rounds take at the mean speed so far, of a running run.
    """
    row: dict[str, Any] = {"path": str(path), "experiment": path.parent.name, "label": path.name, "seed": None}
    row |= {"setting": {}, "state": "damaged", "round": None, "rounds": None, "figures": {}}
    row |= {"seconds": None, "seconds_left": None}
    result = _quick_result(path)
    if result is not None and (record := _quick_record(path, result)):
        row |= {**record, "state": result["status"], "round": result["round"], "seconds": result.get("seconds")}
        row["figures"] = result.get("final", {}).get("test", {})
        if result["status"] == "finished":
            return row
    try:
        _describe_in_full(path, row)
    except SelfflError as error:
        row |= {"state": "damaged", "why": str(error)}
    return row


def _describe_in_full(path: Path, row: dict[str, Any]) -> None:
    """Fill `row` with what the run's files say, each of them checked; SelfflError for the first that is damaged."""
    from .folder import Busy, RunFolder

    folder = RunFolder(path)
    result = folder.result
    row |= _record(folder.record)
    lines = list(last_lines(path / METRICS))
    row["figures"] = next((line["eval"]["test"] for line in lines if "test" in line.get("eval", {})), {})
    if result is not None:
        row |= {"state": result["status"], "round": result["round"], "seconds": result.get("seconds")}
        row["figures"] = result.get("final", {}).get("test", row["figures"])
        return
    row |= {"round": lines[0]["round"] if lines else 0, "state": "stopped"}
    row["seconds"] = lines[0].get("time", {}).get("seconds") if lines else None
    try:
        folder.check_free()
    except Busy as busy:
        row |= {"state": "running", "process": busy.owner, "seconds_left": _left(path, row)}


def _record(record: dict[str, Any]) -> dict[str, Any]:
    rounds, periods = record["train"].get("rounds"), 1
    if record["train"].get("periods"):
        periods = record["data"].get("arguments", {}).get("periods")
    whole = isinstance(rounds, int) and isinstance(periods, int)
    return {
        "experiment": record["experiment"], "label": record["label"], "seed": record["seed"],
        "setting": record.get("setting", {}), "rounds": rounds * periods if whole else None,
    }  # fmt: skip


def _quick_record(path: Path, result: dict[str, Any]) -> dict[str, Any] | None:
    """What `_record` says, from the first lines of run.toml; None where they are not as `selffl train` writes them."""
    try:
        data = read_regular(path / RECORD)
        known = result.get("files", {}).get(RECORD)
        if known is not None and hashlib.sha256(data).hexdigest() != known:
            return None
        text = data.decode()
        first, section, rest = text.partition("\n[data]\n")
        head, rounds = read_toml(first), _ROUNDS.search(rest)
    except (OSError, ValueError, RecursionError):
        return None
    fits = section and rounds and "\nperiods = false\n" in rest and isinstance(head.get("setting"), dict)
    if not fits or not isinstance(head.get("seed"), int):
        return None
    if not all(isinstance(head.get(key), str) and head[key] for key in ("experiment", "label")):
        return None
    assert rounds is not None
    return {**{key: head[key] for key in ("experiment", "label", "seed", "setting")}, "rounds": int(rounds[1])}


def _quick_result(path: Path) -> dict[str, Any] | None:
    """The sealed result, when it is as `selffl train` writes it; the seal vouches for the rest of its shape."""
    try:
        result = unseal(json.loads(read_regular(path / RESULT)), required=True)
        sound = result["status"] in ("finished", "diverged") and type(result["round"]) is int
        figures = result.get("final", {}).get("test", {})
        numbers = (value for kind in figures.values() for value in kind.values())
        sound = sound and all(value is None or type(value) in (int, float) for value in numbers)
        return result if sound and isinstance(result.get("files", {}), dict) else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def last_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines at the end of a metrics.jsonl that may be growing, newest first; [] when there are none to read."""
    from .schema import Line, check

    try:
        with open_regular(path) as file:
            start = max(0, path.stat().st_size - TAIL)
            file.seek(start)
            lines = file.read().split(b"\n")
    except OSError:
        return
    for line in reversed(lines[1 if start else 0 : -1]):  # the first may be cut off, the last is not whole
        try:
            yield check(Line, json.loads(line))
        except (ValueError, TypeError, RecursionError):
            return


def _left(path: Path, row: dict[str, Any]) -> float | None:
    """Seconds until the last round, less what has passed since the last line was written."""
    if not row["round"] or row["rounds"] is None or row["seconds"] is None:
        return None
    try:
        since = max(0.0, time.time() - (path / METRICS).stat().st_mtime)
    except OSError:
        since = 0.0
    a_round = row["seconds"] / row["round"]
    return max(0.0, (row["rounds"] - row["round"]) * a_round - min(since, a_round))
