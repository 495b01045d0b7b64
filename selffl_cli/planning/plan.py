"""From an experiment to the runs it asks for: every setting, method and seed, resolved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from .. import methods, models
from ..config.experiment import Experiment, TrainConfig, apply_setting, train_config
from ..config.memory import VERSION as MEMORY_VERSION
from ..config.run import ENGINE_VERSION, WARM_START, RunConfig
from ..config.spec import parse_spec
from ..config.validation import FILE_NAME
from ..errors import UsageError, nearest
from ..privacy.budget import budget_of
from ..registry import reference
from ..runs.folder import MODELS, RunFolder
from ..runs.models import global_model, init_file
from ..shards import Shards, read_manifest, sha256
from .checks import check_delivery, check_model, check_periods, check_sampler, check_stop, private_options
from .outside import code_of, settled
from .settings import settings_of


@dataclass
class PlannedRun:
    """A run that is to exist: its record, its data, and what it starts from."""

    config: RunConfig
    shards: Shards
    folder: Path
    start: Path | None = None  # a models.safetensors to start from; None = the network's own start
    needs: PlannedRun | None = None  # the run that makes it

    def start_model(self) -> dict[str, Tensor] | None:
        """Named tensors of the start, or None for the network's own."""
        if self.needs is not None:
            RunFolder(self.needs.folder).check(MODELS)
        return None if self.start is None else global_model(self.start)


@dataclass(frozen=True)
class Case:
    """What the methods of one setting and seed have in common."""

    experiment: Experiment  # with the setting in it
    setting: dict[str, Any]
    seed: int
    shards: Shards


@dataclass(frozen=True)
class ResolvedMethod:
    """A `[methods.LABEL]` table with every option written out."""

    label: str
    method: dict[str, Any]
    train: TrainConfig
    version: int


@dataclass
class Request:
    """What the command line asks of an experiment."""

    experiment: Experiment
    methods: list[str] = field(default_factory=list)  # labels or specs; none = all of the experiment's
    seeds: list[int] | None = None
    data: Path | None = None  # one shard folder for every seed
    data_folder: Path = Path("data")
    source: str | None = None
    runs: Path = Path("runs")
    init: Path | None = None
    label: str = ""  # of its own for the one method, which then stands beside the experiment's
    folder: str = ""  # run folders below runs/EXPERIMENT/, when not right there


def select(experiment: Experiment, wanted: list[str]) -> dict[str, dict[str, Any]]:
    """The methods asked for, as {label: table}: labels of the experiment, or `name:key=value,…` specs."""
    if not wanted:
        return experiment.methods
    chosen: dict[str, dict[str, Any]] = {}
    for text in map(str.strip, wanted):
        if text in experiment.methods:
            chosen[text] = experiment.methods[text]
            continue
        name, options = parse_spec(text)
        try:
            methods.resolve(name, options)
        except UsageError as error:
            known = [*experiment.methods, *methods.METHODS.names(), *methods.ALIASES]
            if str(error).startswith("unknown method"):
                raise UsageError(f"unknown method '{name}'{nearest(name, known)}") from None
            raise
        # options typed here come on top of what the experiment says of that method (its tuned values)
        outside = reference(name)  # a path would make a long label
        label = text if outside is None or outside["cls"] in chosen else outside["cls"] + text[outside.end() :]
        chosen[label] = {**experiment.methods.get(name, {}), "method": name, **options}
    return chosen


def labelled(chosen: dict[str, dict[str, Any]], label: str, experiment: Experiment) -> dict[str, dict[str, Any]]:
    """The one method that was chosen, under a label of its own; UsageError for a label that another run has."""
    if not label:
        return chosen
    if len(chosen) != 1:
        raise UsageError(f"--label {label}: names a variant of one method; add --method METHOD")
    if label in experiment.methods or label == WARM_START or not FILE_NAME.fullmatch(label):
        raise UsageError(
            f"--label '{label}': give a name that is no label of {experiment.name}, of letters, digits, '.', '_', '+' "
            "and '-'"
        )
    (name, table), *_ = chosen.items()
    return {label: {"method": name, **table}}


def plan(request: Request) -> list[PlannedRun]:
    """Every run of the request, in order of setting, seed and method; prepares shards that are missing."""
    given = init_file(request.init)
    start = None if given is None else global_model(given)
    tried: set[str] = set()  # models, each on data of its kind
    runs: list[PlannedRun] = []
    opened: dict[Path, Shards] = {}
    manifest = None if request.data is None else read_manifest(request.data)
    for setting in settings_of(request.experiment, manifest):
        experiment = apply_setting(request.experiment, setting)
        chosen = labelled(select(experiment, request.methods), request.label, experiment)
        # everything that can be wrong in the request is found before any data is prepared
        resolved = [resolve_method(experiment, label, table) for label, table in chosen.items()]
        models.resolve(experiment.model)
        for seed in request.seeds if request.seeds is not None else experiment.seeds:
            path = request.data or data_folder(experiment, seed, request)
            shards = opened.setdefault(path, Shards.open(path)) if path not in opened else opened[path]
            check_model(experiment, shards, start, tried)
            case = Case(experiment, setting, seed, shards)
            warm = warm_start(request, case)
            if warm:
                runs.append(warm)
            for method in resolved:
                check_sampler(method.train, shards)
                check_stop(method.train, shards)
                check_periods(method.train, shards, method.method)
                runs.append(_planned(request, case, method, warm))
    return runs


def resolve_method(experiment: Experiment, label: str, table: Mapping[str, Any]) -> ResolvedMethod:
    """The method, its `[train]` and its version, from a `[methods.LABEL]` table."""
    options = dict(table)
    name, overrides = options.pop("method", label), options.pop("train", {})
    where = f"{experiment.name}: [methods.{label}]"
    if not isinstance(name, str) or not isinstance(overrides, dict):
        raise UsageError(f"{where}: method is a name and train a table")
    train = settled(train_config(experiment.train, overrides, f"{where} train"))
    options = methods.weighed(name, options, train.weighting)
    options = private_options(name, options, train)
    method, version = methods.resolve(name, options)
    check_delivery(train, method, where)
    if train.privacy and experiment.warm_start:
        raise UsageError(
            f"{where}: train.privacy: the start of [warm_start] was trained on the same clients without it; start from "
            "--init of other data, or leave [warm_start] out"
        )
    return ResolvedMethod(label, method, train, version)


def data_folder(experiment: Experiment, seed: int, request: Request) -> Path:
    """The shards of this experiment and seed, prepared when they are not there."""
    from data_prep.prepare import find_or_prepare

    options = {key: value for key, value in experiment.data.items() if key not in ("name", "source")}
    options.setdefault("seed", seed)
    source = request.source or experiment.data.get("source")
    if "listen" in options:  # it writes outside the data folder, which an experiment must not
        raise UsageError(f"{experiment.name}: [data] listen is for the command line: selffl prepare … --listen DIR")
    return find_or_prepare(experiment.data["name"], options, request.data_folder, source)


def data_record(shards: Shards) -> dict[str, Any]:
    """What a run's record says of its data."""
    manifest = shards.manifest
    return {
        "name": manifest.name,
        "path": str(shards.path),
        "hash": shards.hash,
        "partition": manifest.partition,
        "clients": manifest.clients,
        "arguments": {k: v for k, v in manifest.arguments.items() if v is not None},
        "sources": [source.model_dump() for source in manifest.sources],
    }


def versions(model: int, method: int, train: TrainConfig) -> dict[str, int]:
    """The versions that a run's numbers depend on."""
    found = {"engine": ENGINE_VERSION, "model": model, "method": method}
    return found | ({"memory": MEMORY_VERSION} if train.periods else {})


def warm_start(request: Request, case: Case) -> PlannedRun | None:
    """The run that makes the shared start of a seed."""
    experiment, warm = case.experiment, case.experiment.warm_start
    if warm is None or request.init is not None:
        return None
    train = train_config(
        experiment.train, {**warm.train, "rounds": warm.rounds}, f"{experiment.name}: [warm_start] train"
    )
    train = settled(train)
    check_stop(train, case.shards, "warm_start.")
    method, version = methods.resolve(warm.method, {})
    return _planned(request, case, ResolvedMethod(WARM_START, method, train, version), None)


def _planned(request: Request, case: Case, method: ResolvedMethod, warm: PlannedRun | None) -> PlannedRun:
    experiment, shards, train = case.experiment, case.shards, method.train
    model, model_version = models.resolve(experiment.model)
    noise = budget_of(train, method.method["name"], case.seed, shards, None).noise if train.privacy else None
    start = warm.folder / MODELS if warm else init_file(request.init)
    init = f"run-{warm.config.key()}" if warm else (sha256(start)[:16] if start and method.label != WARM_START else "")
    made = warm.config.model_dump(mode="json", exclude_none=True) if warm else {"path": str(start)} if init else {}
    config = RunConfig(
        experiment=f"{experiment.name}/{request.folder}".rstrip("/"),
        label=method.label,
        seed=case.seed,
        setting=case.setting,
        data=data_record(shards),
        model=model,
        train=train,
        method=method.method,
        versions=versions(model_version, method.version, train),
        noise=noise,
        init=init,
        code=code_of(train),
        start=made,
    )
    return PlannedRun(config, shards, config.folder(request.runs), start, warm)
