"""The face for Python: the calls behind the commands, and what a method, a model or a data set of one's own builds on.

Names are imported when they are first used, so that `import selffl` brings no torch. See docs/python.md.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

if TYPE_CHECKING:
    import pandas as pd

    from data_prep.arrays import write_shards
    from data_prep.dataset import DataSet
    from data_prep.dealing.partition import Partitioner, Samples
    from data_prep.dealing.pool import Pool
    from data_prep.dealing.pool import PrepareOptions as DataOptions

    from .config.experiment import Experiment
    from .config.sampler import Sampler
    from .engine.cohort import Cohort, State, Weighting
    from .engine.store import ClientStore
    from .errors import SelfflError, UsageError
    from .finished.loaded import Run
    from .methods.base import Federated, Method, Weighted
    from .methods.base import Options as MethodOptions
    from .metrics.metric import Metric
    from .models.base import Model
    from .models.base import NoOptions as ModelOptions
    from .shards import Manifest, Shards

__all__ = [  # noqa: RUF022 - in the order of docs/python.md
    "load_experiment", "prepare", "train", "evaluate", "report", "load_run", "Run", "Experiment", "register",
    "Shards", "Manifest", "write_shards", "DataSet", "DataOptions", "Pool", "Partitioner", "Samples", "Method",
    "MethodOptions", "Federated", "Weighted", "Weighting", "Cohort", "State", "ClientStore", "Model", "ModelOptions",
    "Metric", "Sampler", "SelfflError", "UsageError",
]  # fmt: skip

# name → "module:name"; imported when it is first used
PLACES = {
    "Run": "selffl_cli.finished.loaded:Run", "Experiment": "selffl_cli.config.experiment:Experiment",
    "Shards": "selffl_cli.shards:Shards", "Manifest": "selffl_cli.shards:Manifest",
    "write_shards": "data_prep.arrays:write_shards", "DataSet": "data_prep.dataset:DataSet",
    "DataOptions": "data_prep.dealing.pool:PrepareOptions", "Pool": "data_prep.dealing.pool:Pool",
    "Partitioner": "data_prep.dealing.partition:Partitioner", "Samples": "data_prep.dealing.partition:Samples",
    "Method": "selffl_cli.methods.base:Method", "MethodOptions": "selffl_cli.methods.base:Options",
    "Federated": "selffl_cli.methods.base:Federated", "Weighted": "selffl_cli.methods.base:Weighted",
    "Weighting": "selffl_cli.engine.cohort:Weighting", "Cohort": "selffl_cli.engine.cohort:Cohort",
    "State": "selffl_cli.engine.cohort:State", "ClientStore": "selffl_cli.engine.store:ClientStore",
    "Model": "selffl_cli.models.base:Model", "ModelOptions": "selffl_cli.models.base:NoOptions",
    "Metric": "selffl_cli.metrics.metric:Metric", "Sampler": "selffl_cli.config.sampler:Sampler",
    "SelfflError": "selffl_cli.errors:SelfflError", "UsageError": "selffl_cli.errors:UsageError",
}  # fmt: skip

# base → where what derives from it is registered
REGISTRIES = {
    "Method": "selffl_cli.methods:METHODS", "Model": "selffl_cli.models:MODELS", "DataSet": "data_prep:DATASETS",
    "Metric": "selffl_cli.metrics:METRICS", "Partitioner": "data_prep.dealing.partition:PARTITIONERS",
    "Sampler": "selffl_cli.config.sampler:SAMPLERS",
}  # fmt: skip


class How(TypedDict, total=False):
    """How `train` carries runs out; none of it changes a number (device and engine: but for the order of sums).

    source: of data that must be prepared first. init: a run or file to start from. device: "auto", "cpu" or "cuda".
    engine: "auto", "sequential" or "stacked". workers: processes that share a run. keep: which final models stay,
    "auto", "global", "personal" or "none". watch: told the metrics of each round.
    """

    source: str | None
    init: Path | str | None
    device: str
    engine: Literal["auto", "sequential", "stacked"]
    workers: int | None
    keep: Literal["auto", "global", "personal", "none"]
    watch: Callable[[dict[str, Any]], None]


def load_experiment(name: str, settings: Mapping[str, Any] | None = None) -> Experiment:
    """An experiment by name or from a TOML file, with {dotted key: value} on top of what it says.

    UsageError for an unknown name, key or value.
    """
    from .config.experiment import load_experiment as load

    return load(name, settings)


def prepare(
    name: str, source: Path | str | None = None, *, data: Path | str = "data", force: bool = False, **options: Any
) -> Path:
    """The folder of client shards of a data set, made when it is not there yet (or again, with `force`).

    name: a data set, or `path/file.py:Class`. data: the folder to keep shards in. options: those of `selffl prepare`,
    such as clients=20, partition="dirichlet:alpha=0.3". SelfflError for data that cannot be read.
    """
    from data_prep.prepare import prepare as make

    return make(name, options, data, source, force)


def train(
    experiment: Experiment | str,
    methods: Sequence[str] | str = (),
    *,
    seeds: Sequence[int] | int | None = None,
    data: Path | str | None = None,
    runs: Path | str = "runs",
    **how: Unpack[How],
) -> list[Run]:
    """Train the methods with every seed, one run after another, and return the finished runs.

    methods: labels of the experiment, or `name:key=value`; none stands for all. seeds: the experiment's, unless given.
    data: a folder of shards, instead of the experiment's data. runs: the folder of run folders; a run that is finished
    there is not trained again, and one that was interrupted goes on. A run that diverged is among those returned.
    """
    from .finished.loaded import Run
    from .launchers.here import train_here
    from .planning.plan import Request

    asked = load_experiment(experiment) if isinstance(experiment, str) else experiment
    init = how.get("init")
    request = Request(
        asked,
        methods=[methods] if isinstance(methods, str) else list(methods),
        seeds=[seeds] if isinstance(seeds, int) else None if seeds is None else list(seeds),
        data=None if data is None else Path(data),
        source=how.get("source"),
        runs=Path(runs),
        init=None if init is None else Path(init),
    )
    return [Run(path) for path in train_here(request, dict(how))]


def evaluate(run: Run | Path | str, parts: Sequence[str] = ("train", "validation", "test")) -> pd.DataFrame:
    """Score a finished run's models again: a row a part and model ("global", "personal"), a column a figure."""
    import pandas as pd

    loaded = load_run(run) if isinstance(run, str | Path) else run
    found = loaded.scored.summaries(list(parts))
    rows = [
        {"part": part, "model": kind, **figures}
        for part, kinds in found.items()
        for kind, figures in kinds.items()
        if figures
    ]
    return pd.DataFrame(rows)


def report(experiment: Experiment | str, *, runs: Path | str = "runs", out: Path | str | None = None) -> Path:
    """Write tables, curves and judged claims of an experiment's finished runs; the page (README.md).

    It goes beside the runs, or into OUT/EXPERIMENT.
    """
    from .planning.tuning import tuned
    from .report.build import PAGE, build

    asked = load_experiment(experiment) if isinstance(experiment, str) else experiment
    place = Path(runs)
    command = f"selffl report {asked.name}"
    made = build(tuned(asked, place), place, None if out is None else Path(out), ["rounds", "gradients"], command)
    return made.folder / PAGE


def load_run(path: Path | str, data: Path | str | None = None) -> Run:
    """A run folder. data: where its shards are now, when they are no longer where they were."""
    from .finished.loaded import Run

    return Run(path, data)


def register(name: str, cls: type[Any]) -> None:
    """Give a method, model, data set, metric, partitioner or sampler of one's own a name in this process.

    UsageError for a name that selffl has itself, or a class that derives from none of these.
    """
    from .errors import UsageError
    from .registry import Registry

    above = {f"{base.__module__}:{base.__name__}" for base in cls.__mro__}
    for base, place in REGISTRIES.items():
        if PLACES[base] in above:
            module, _, own = place.partition(":")
            registry: Registry[Any] = getattr(importlib.import_module(module), own)
            registry.add(name, cls)
            return
    raise UsageError(f"{cls.__name__} derives from none of {', '.join(f'selffl.{base}' for base in REGISTRIES)}")


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"selffl has no {name}; it has {', '.join(__all__)}")
    module, _, own = PLACES[name].partition(":")
    value = getattr(importlib.import_module(module), own)
    globals()[name] = value
    return value
