"""Run folders → the frames that every table and picture is made from. Nothing else is read."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..config.experiment import Experiment
from ..config.run import WARM_START
from ..errors import SelfflError
from ..metrics.judged_by import MAIN, is_judged, main_metric
from ..metrics.metric import Metric, Recorded
from ..planning.stated import Given
from ..runs.folder import find_runs
from ..runs.impossible import impossible
from .figures.audits import audit_points
from .figures.detection import Detection, detection
from .figures.fairness import final_points
from .figures.remarks import silent, uncalibrated
from .figures.target import target_points
from .results import Results, Run, short_text
from .select_runs import Chosen, choose


def collect(experiment: Experiment, root: Path, given: Given | None = None, include: bool = False) -> Results:
    """Read the runs of an experiment under `root`: those that its TOML states now; with `include` the others too."""
    folders = [f for f in find_runs(root, experiment.name) if f.record["label"] != WARM_START]
    place = "" if root == Path("runs") else f" --runs {root}"
    if not folders:
        raise SelfflError(
            f"no runs of '{experiment.name}' in {root}; make them with: selffl train {experiment.name}{place}"
        )
    done = [folder for folder in folders if folder.result is not None]
    notes = [f"Not finished, so left out: `{folder.path.name}`." for folder in folders if folder.result is None]
    if not done:
        raise SelfflError(
            f"none of the {len(folders)} runs in {root / experiment.name} is finished; go on with: selffl "
            f"train {experiment.name}{place}"
        )
    chosen = choose(experiment, done, given or Given())
    remarks = chosen.note(include)
    if not chosen.stated and not include:
        raise SelfflError(
            f"no run in {root / experiment.name} is one that the TOML of '{experiment.name}' states as it is now. "
            f"{' '.join(remarks)} Make its runs with: selffl train {experiment.name}{place}"
        )
    shown = chosen.stated + (chosen.variants() if include else [])
    names = _setting_names([placed.setting for placed in shown], experiment)
    runs = [Run(p.label, names[_frozen(p.setting)], p.seed, p.folder, p.folder.result or {}) for p in shown]
    read = Reading(runs)
    notes += read.notes
    if not read.runs:
        raise SelfflError(f"the runs of '{experiment.name}' in {root} cannot be reported: {' '.join(read.notes)}")
    return _results(experiment, chosen, read, names, notes, remarks)


def _results(
    experiment: Experiment, chosen: Chosen, read: Reading, names: dict[tuple[tuple[str, Any], ...], str],
    notes: list[str], remarks: list[str],
) -> Results:  # fmt: skip
    """The frames of these runs, with the figures that are computed from several of them."""
    runs, points = read.runs, read.points()
    own = {place.label for place in chosen.stated}
    labels = sorted({run.label for run in runs}, key=lambda label: _position(list(experiment.methods), label))
    settings = {name: dict(key) for key, name in names.items() if any(run.setting == name for run in runs)}
    order = {name: i for i, name in enumerate(settings)}
    runs.sort(key=lambda run: (order[run.setting], labels.index(run.label), run.seed))
    further = [Recorded(facts) for run in runs for facts in run.result.get("metrics", [])]
    metric = main_metric({what.rpartition(".")[2] for what in points["what"]})
    more = [final_points(points, [run for run in runs if not run.diverged], metric)]
    more.append(target_points(points, experiment.report, (*MAIN, *further)))
    more.append(audit_points(points, runs))
    points = pd.concat([points, *(frame for frame in more if len(frame))], ignore_index=True)
    found = None
    if len(settings) == 1:
        done_runs = [(run.label, run.seed, run.folder) for run in runs if not run.diverged]
        found = detection(done_runs, experiment.report.false_rejects)
    if found:
        points = pd.concat([points, *_detected(points, found)], ignore_index=True)
        notes += found.notes
    notes += [*uncalibrated(points, runs), *silent(points, runs)]
    for run in runs:
        if run.diverged:
            why = run.result.get("message") or f"in round {run.result.get('round', '?')}"
            notes.append(f"Diverged, so in no mean: {run.label}, seed {run.seed}{_in(run.setting)}: {why}.")
    included = frozenset(labels) - own
    return Results(
        experiment, runs, labels, settings, points, read.spread(), notes + remarks, included, [found] if found else []
    )


class Reading:
    """The figures of runs, of those left out whose figures cannot be, and of those of another task than the first's."""

    def __init__(self, runs: list[Run]) -> None:
        self.runs: list[Run] = []
        self.notes: list[str] = []
        self._frames: list[tuple[pd.DataFrame, pd.DataFrame]] = []
        metric: Metric | None = None
        for run in runs:
            lines = run.folder.metrics()
            if fault := impossible(run.folder, lines):
                self.notes.append(f"Left out, as its figures are impossible: `{run.folder.path.name}`: {fault}.")
                continue
            points, spread = _read(run, lines)
            recorded = {what.rpartition(".")[2] for what in points["what"]}
            if points.empty:
                self.notes.append(f"Recorded no figure, so left out: `{run.folder.path.name}`.")
            elif metric and main_metric(recorded) is not metric and is_judged(recorded):
                self.notes.append(f"Judged by {main_metric(recorded)}, so left out: `{run.folder.path.name}`.")
            else:
                metric = metric or (main_metric(recorded) if is_judged(recorded) else None)
                self.runs.append(run)
                self._frames.append((points, spread))

    def points(self) -> pd.DataFrame:
        return pd.concat([points for points, _ in self._frames], ignore_index=True)

    def spread(self) -> pd.DataFrame:
        return pd.concat([spread for _, spread in self._frames], ignore_index=True)


def _detected(points: pd.DataFrame, found: Detection) -> Iterable[pd.DataFrame]:
    """Relative false accepts and equal error rates of each run's final models, as points of its last round."""
    for label, seed, scored, baseline in found.runs:
        own = points[(points["label"] == label) & (points["seed"] == seed)]
        last = own.sort_values("round", kind="stable").tail(1).drop(columns=["what", "value"])
        figures = pd.DataFrame(found.figures(scored, baseline).items(), columns=["what", "value"])
        yield last.merge(figures, how="cross")


def _in(setting: str) -> str:
    return f" ({setting})" if setting else ""


def _frozen(setting: Mapping[str, Any]) -> tuple[tuple[str, Any], ...]:
    return tuple((key, _plain(setting[key])) for key in sorted(setting))


def _plain(value: Any) -> Any:
    """A sweep value that can be compared and hashed: lists become tuples, 5.0 equals 5 by itself."""
    return tuple(_plain(item) for item in value) if isinstance(value, list) else value


def _position(order: list[Any], item: Any) -> tuple[int, str]:
    return (order.index(item) if item in order else len(order), str(item))


def _setting_names(settings: list[dict[str, Any]], experiment: Experiment) -> dict[tuple[tuple[str, Any], ...], str]:
    """Each setting's short name ("clients=5, s0=0.1"), in the order of the sweep; the last part of a key
    serves when it is no other key's."""
    keys = sorted({key for setting in settings for key in setting}, key=lambda k: _position(list(experiment.sweep), k))
    last = [key.rpartition(".")[2] for key in keys]
    short = {key: end if last.count(end) == 1 else key for key, end in zip(keys, last, strict=True)}
    unique = {_frozen(setting): setting for setting in settings}

    def place(frozen: tuple[tuple[str, Any], ...]) -> list[tuple[int, str]]:
        return [
            _position([_plain(v) for v in experiment.sweep.get(key, [])], _plain(unique[frozen].get(key)))
            for key in keys
        ]

    return {
        frozen: ", ".join(f"{short[key]}={short_text(unique[frozen][key])}" for key in keys if key in unique[frozen])
        for frozen in sorted(unique, key=place)
    }


def _numbers(items: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    for key, value in items.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            yield key, float(value)


def _read(run: Run, lines: list[dict[str, Any]]) -> tuple[pd.DataFrame, pd.DataFrame]:
    strangers = (run.folder.result or {}).get("final", {}).get("new")  # clients that never trained, judged at the end
    if lines and strangers:
        lines[-1].setdefault("eval", {})["new"] = strangers
    for part, models in (run.folder.result or {}).get("final", {}).items():  # delivered at the end, after the last line
        if lines and "delivered" in models:
            lines[-1].setdefault("eval", {}).setdefault(part, {})["delivered"] = models["delivered"]
    place = {"label": run.label, "setting": run.setting, "seed": run.seed}
    return _points(lines).assign(**place), _spread(lines).assign(**place)


def _points(lines: list[dict[str, Any]]) -> pd.DataFrame:
    rows: list[tuple[Any, ...]] = []
    for line in lines:
        time = line.get("time", {})
        at = (
            int(line["round"]),
            float(line.get("gradients", 0)),
            float(line.get("bytes_up", 0) + line.get("bytes_down", 0)),
            float(time.get("seconds", math.nan)),
        )
        for part, models in line.get("eval", {}).items():
            for model, figures in models.items():
                rows += [(*at, f"{part}.{model}.{name}", value) for name, value in _numbers(figures)]
        rows += [(*at, f"method.{name}", value) for name, value in _numbers(line.get("method", {}))]
        rows += [(*at, f"method.{name}", value) for name, value in _numbers(line.get("privacy", {}))]
        if line.get("clients") and "steps" in line:
            rows.append((*at, "method.steps", float(line["steps"]) / float(line["clients"])))
    return pd.DataFrame(rows, columns=["round", "gradients", "bytes", "seconds", "what", "value"])


def _spread(lines: list[dict[str, Any]]) -> pd.DataFrame:
    """Quantiles (10, 50, 90 %) over the participants of each round, of every per-client figure."""
    rows: list[tuple[Any, ...]] = []
    for line in lines:
        for name, values in line.get("per_client", {}).items():
            if name == "client":
                continue
            known = np.array([v for v in values if v is not None and math.isfinite(v)], dtype=np.float64)
            if known.size:
                rows.append((int(line["round"]), name, *np.quantile(known, [0.1, 0.5, 0.9])))
    return pd.DataFrame(rows, columns=["round", "name", "low", "median", "high"])
