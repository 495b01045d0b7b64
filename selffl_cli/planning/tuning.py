"""Fair tuning: the same number of trials for every method, on validation data, with a seed of their own."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.experiment import Experiment, Tuning, set_key
from ..config.validation import TRIALS, validate
from ..errors import SelfflError, UsageError
from ..files.atomic import write_whole
from ..files.checksums import seal, unseal
from ..files.locks import alone
from ..files.regular import read_regular
from ..metrics.judged_by import main_metric
from ..runs.folder import RunFolder
from ..runs.schema import Number, Open, check
from .stated import Given, given, stated_runs, words

if TYPE_CHECKING:  # plan imports torch, which a report does without
    from .plan import PlannedRun, Request

    Trials = list[tuple[str, dict[str, Any], PlannedRun]]  # label, options tried, and their run

FILE = "tuning.json"  # in runs/EXPERIMENT/
LENGTH = ("train.rounds", "train.eval_", "train.stop_at", "versions.")  # in which trials and runs may differ


class Trial(Open):
    label: str
    options: dict[str, Any]
    run: str
    score: Number


class Record(Open):
    """tuning.json"""

    seed: int
    rounds: int
    score: str
    chosen: dict[str, dict[str, Any]]
    trials: list[Trial]
    tuned_for: dict[str, dict[str, Any]] = {}  # of each method: data, model, [train] and its other options


def with_options(experiment: Experiment, label: str, options: dict[str, Any]) -> Experiment:
    """The experiment with more keys in one method's table; "train.learning_rate" and the like reach its `train`."""
    content = experiment.model_dump(mode="json", exclude_none=True)
    for key, value in options.items():
        set_key(content["methods"][label], key, value)
    return validate(Experiment, content, experiment.name)


def plan_trials(request: Request) -> Trials:
    """(label, options, run) of every trial, warm starts not listed (their runs hang on the trials)."""
    from .plan import plan

    experiment = request.experiment
    if experiment.tuning is None:
        raise UsageError(f"{experiment.name}: has no [tuning] table, so there is nothing to tune")
    short = {
        "train": {
            **experiment.train.model_dump(exclude_none=True),
            "rounds": experiment.tuning.rounds,
            "eval_parts": ["validation"],
        },  # a trial never reads test data
        "sweep": {},
    }
    base = validate(Experiment, {**experiment.model_dump(exclude_none=True), **short}, experiment.name)
    trials = []
    for label, grid in experiment.tuning.trials().items():
        if request.methods and label not in request.methods:
            continue
        for options in grid:
            tried = with_options(base, label, options)
            one = replace(request, experiment=tried, methods=[label], seeds=[experiment.tuning.seed], folder=TRIALS)
            trials.append((label, options, plan(one)[-1]))
    return trials


def score(experiment: Experiment, run: PlannedRun) -> float:
    """The trial's final figure on the validation part, higher is better; -inf when it diverged."""
    assert experiment.tuning is not None
    folder = RunFolder(run.folder)
    if folder.result is None or folder.result["status"] != "finished":
        return -math.inf
    kinds = folder.result["final"].get("validation", {})
    figures = kinds.get(experiment.tuning.score) or kinds.get("personal")
    if not figures:
        raise SelfflError(f"{run.folder}: the data has no validation part to tune on; prepare it with --validation 0.1")
    metric = main_metric(figures)
    value = figures[metric.name]
    return -math.inf if value is None else value if metric.higher_is_better else -value


def record(request: Request, trials: Trials) -> dict[str, Any]:
    """Write runs/EXPERIMENT/tuning.json: every trial with its score, and each method's choice (first among equals)."""
    experiment = request.experiment
    assert experiment.tuning is not None
    path = request.runs / experiment.name / FILE
    with alone(path.with_name(f".{FILE}.lock")):  # another process may add other methods' choices
        before = read(path)
        if not _alike(before, experiment.tuning):
            before = {}  # trials of another length, seed or score cannot stand beside these
        chosen = dict(before.get("chosen", {}))
        rows = [row for row in before.get("trials", []) if row["label"] not in {label for label, _, _ in trials}]
        best: dict[str, float] = {}
        for label, options, run in trials:
            value = score(experiment, run)
            rows.append({"label": label, "options": options, "run": run.folder.name,
                         "score": value if math.isfinite(value) else None})  # fmt: skip
            if label not in best or value > best[label]:
                best[label], chosen[label] = value, options
        content = {"seed": experiment.tuning.seed, "rounds": experiment.tuning.rounds, "score": experiment.tuning.score,
                   "part": "validation", "chosen": chosen, "trials": rows,
                   "tuned_for": before.get("tuned_for", {}) | {
                       label: asked_of(experiment, label, given(request.data, request.init)) for label in best
                   }}  # fmt: skip
        write_whole(path, json.dumps(seal(content), indent=1) + "\n")
    return content


def read(path: Path) -> dict[str, Any]:
    """A tuning record, or {} where there is none."""
    try:
        return check(Record, unseal(json.loads(read_regular(path).decode())))
    except FileNotFoundError:
        return {}
    except NotADirectoryError:
        file = next(parent for parent in path.parents if parent.exists())
        raise UsageError(f"{file}: is a file, where a folder of runs is wanted; see --runs") from None
    except (OSError, ValueError, RecursionError) as error:
        raise SelfflError(f"{path}: damaged ({error}); delete it and tune again") from None


def asked_of(experiment: Experiment, label: str, stated: Given) -> dict[str, Any]:
    """What a choice is made for: data, model, start and training of a method, but for its length and its grid."""
    assert experiment.tuning is not None
    tried = {key if key.startswith("train.") else f"method.{key}" for key in experiment.tuning.grids[label]}
    plain = experiment.model_copy(update={"sweep": {}})
    run = next(run for run in stated_runs(plain, stated) if run.label == label)
    return {key: value for key, value in run.options.items() if key not in tried and not key.startswith(LENGTH)}


def tuned(
    experiment: Experiment,
    runs: Path,
    trained: Collection[str] | None = None,
    stated: Given | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Experiment:
    """The experiment with the choices of its tuning, where it has been tuned.

    trained: methods that are about to be trained ([]: all); UsageError for one whose choice was made under another
    [tuning] table than the experiment has now. A choice that was made for other data, another model or other training
    is not used, and `say` is told so.
    """
    untuned = experiment
    path = runs / experiment.name / FILE
    content = read(path)
    for label, options in content.get("chosen", {}).items():
        if experiment.tuning and label in experiment.tuning.grids:
            now = _alike(content, experiment.tuning) and options in experiment.tuning.trials()[label]
            if not now and trained is not None and (not trained or label in trained):
                raise UsageError(
                    f"{path}: {label} was tuned under another [tuning] table than {experiment.name} has now; tune it "
                    f"again with selffl tune {experiment.name} --method {label}, or delete the file"
                )
            other = _other(content, untuned, label, stated or Given())
            if other:
                say(
                    f"{label} was tuned for other runs ({other}), so its choice is not used; tune it again with: "
                    f"selffl tune {experiment.name} --method {label}"
                )
                continue
            experiment = with_options(experiment, label, options)
    return experiment


def _other(content: Mapping[str, Any], experiment: Experiment, label: str, stated: Given) -> str:
    """In what a choice was made for something else, in words; "" when it was made for this."""
    was = content.get("tuned_for", {}).get(label)
    if was is None:
        return "its record does not say for which"
    now = asked_of(experiment, label, stated)
    return words({key: was.get(key) for key in {**now, **was} if was.get(key) != now.get(key)})


def _alike(content: Mapping[str, Any], tuning: Tuning) -> bool:
    """Whether a record's trials had this seed, length and score."""
    return all(content.get(key) == getattr(tuning, key) for key in ("seed", "rounds", "score"))


def tune(request: Request, execute: Callable[[list[PlannedRun]], bool]) -> dict[str, Any] | None:
    """Run every trial through `execute` (False = stopped early) and record the choices."""
    trials = plan_trials(request)
    return record(request, trials) if execute(_each_once(trials)) else None


def trial_runs(request: Request) -> list[PlannedRun]:
    """Every run that tuning takes, with those that make their starts."""
    return _each_once(plan_trials(request))


def _each_once(trials: Trials) -> list[PlannedRun]:
    runs: dict[Path, PlannedRun] = {}
    for _, _, run in trials:
        for one in (run.needs, run):
            if one is not None:
                runs.setdefault(one.folder, one)
    return list(runs.values())
