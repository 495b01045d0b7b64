"""What an experiment's runs are as its TOML states them now, and in what the record of another run differs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.experiment import Experiment, apply_setting
from ..config.memory import VERSION as MEMORY_VERSION
from ..config.memory import sized
from ..config.run import ENGINE_VERSION, WARM_START
from ..config.train import TrainConfig, train_config
from ..errors import SelfflError, UsageError
from ..registry import called, short
from ..shards.manifest import Manifest, read_manifest, sha256
from .outside import code_of, settled
from .settings import data_option, settings_of

Flat = dict[str, Any]  # {"train.rounds": 60, …}

SEED = "data.seed"
WHOLE = ("method", "model", "data", "start")  # what is named by its name alone when that differs


@dataclass(frozen=True)
class Given:
    """What the command line states beside the TOML: a shard folder for every seed, and the model to start from."""

    data: Manifest | None = None
    init: str = ""  # sha256 of the model, as in a run's record


def given(data: Path | None, init: Path | None) -> Given:
    """What the command line gave: a folder of shards, and a run folder or file to start from."""
    start = ""
    if init is not None:
        from ..runs.models import init_file

        file = init_file(init)
        start = sha256(file)[:16] if file else ""
    return Given(None if data is None else read_manifest(data), start)


@dataclass(frozen=True)
class StatedRun:
    """A method at one setting of the sweep, resolved; the seed alone is open.

    unknown: beginnings of keys of which only what is stated can be compared, as their defaults cannot be known here
    (a method or data set that is not installed).
    """

    setting: dict[str, Any]
    label: str
    options: Flat
    defaults: Flat
    any_dealing: bool  # the data's seed is not stated: each run's own, or one for all
    unknown: tuple[str, ...] = ()

    def differences(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """{key: the record's value, None where it has none} of every option in which a run's record differs."""
        stated = self.options
        found = {**self.defaults, **recorded(record, "data.hash" in stated)}
        if self.any_dealing:
            found[SEED] = stated.get(SEED)
        keys = [*stated, *(key for key in found if key not in stated and not key.startswith(self.unknown))]
        return {key: found.get(key) for key in keys if found.get(key) != stated.get(key)}


def stated_runs(experiment: Experiment, beside: Given) -> Iterator[StatedRun]:
    """Every method at every setting of the experiment."""
    for setting in settings_of(experiment, beside.data):
        at = apply_setting(experiment, setting)
        data, any_dealing, unknown = _data(at, beside.data)
        model, model_defaults, version = _model(at)
        start = _start(at, beside.init)
        for label in at.methods:
            method, defaults, versions, hidden = _method(at, label)
            options = {**data, **model, **method, **start, **_flat("versions", {"model": version, **versions})}
            yield StatedRun(setting, label, options, {**model_defaults, **defaults}, any_dealing, (*unknown, *hidden))


def recorded(record: Mapping[str, Any], by_hash: bool = False) -> Flat:
    """A run's record in the same keys; the hash stands for the data's options where shards were given."""
    data = record["data"]
    options = {"hash": data["hash"]} if by_hash else {"name": data["name"], **data.get("arguments", {})}
    found = {key: data_option(key, value) for key, value in _flat("data", options).items()}
    found |= _code(record.get("code", {}))
    found |= _flat("model", _named(record["model"])) | _flat("method", _named(record["method"]))
    found |= _train("train", record["train"]) | _flat("versions", record.get("versions", {}))
    start = record.get("start", {})
    if start.get("label") == WARM_START and isinstance(start.get("method"), Mapping):
        found |= _train("start", start.get("train", {})) | _flat("start.method", _named(start["method"]))
    elif record.get("init"):
        found["start.init"] = record["init"]
    return found


def _data(experiment: Experiment, given: Manifest | None) -> tuple[Flat, bool, tuple[str, ...]]:
    """Every option of the data, whether any seed may have dealt them, and what cannot be known."""
    from data_prep.prepare import arguments, read_options

    if given is not None:
        return {"data.hash": given.data_hash}, False, ()
    name, stated = experiment.data["name"], {k: v for k, v in experiment.data.items() if k not in ("name", "source")}
    unknown: tuple[str, ...] = ()
    try:
        options = arguments(read_options(name, stated))
    except (SelfflError, ImportError):
        options, unknown = stated, ("data.",)
    flat = {key: data_option(key, value) for key, value in _flat("data", {"name": called(name), **options}).items()}
    return flat, "seed" not in stated and not unknown, unknown


def _model(experiment: Experiment) -> tuple[Flat, Flat, int]:
    """The model, the defaults of its options, and its version."""
    from .. import models

    model, version = models.resolve(experiment.model)
    defaults: dict[str, Any] = {}
    with suppress(UsageError):  # an option without a default
        defaults, _ = models.resolve({"name": experiment.model["name"]})
    return _flat("model", _named(model)), _flat("model", defaults, leave=("name", "code")), version


def _method(experiment: Experiment, label: str) -> tuple[Flat, Flat, dict[str, int], tuple[str, ...]]:
    """The method with its [train], the defaults of its options, the versions, and what cannot be known."""
    from .. import methods
    from .plan import resolve_method

    table = experiment.methods[label]
    versions = {"engine": ENGINE_VERSION}
    hidden: tuple[str, ...] = ()
    defaults: dict[str, Any] = {}
    train: TrainConfig
    try:
        resolved = resolve_method(experiment, label, table)
        method, train, versions["method"] = resolved.method, resolved.train, resolved.version
        defaults, _ = methods.resolve(method["name"], {})
        code = code_of(train)
    except UsageError:
        method = {
            "name": table.get("method", label),
            **{k: v for k, v in table.items() if k not in ("method", "train")},
        }
        train = train_config(experiment.train, table.get("train", {}), f"[methods.{label}]")
        hidden, code = ("method.", "versions.method", "code."), {}
    if train.periods:
        versions["memory"] = MEMORY_VERSION
    flat = _flat("method", _named(method)) | _train("train", train.model_dump(mode="json")) | _code(code)
    return flat, _flat("method", defaults, leave=("name", "code")), versions, hidden


def _start(experiment: Experiment, init: str) -> Flat:
    from .. import methods

    warm = experiment.warm_start
    if init:
        return {"start.init": init}
    if warm is None:
        return {}
    train = train_config(experiment.train, {**warm.train, "rounds": warm.rounds}, "[warm_start] train")
    train = settled(train)
    return _train("start", train.model_dump(mode="json")) | _flat("start.method", methods.resolve(warm.method, {})[0])


def _train(prefix: str, values: Mapping[str, Any]) -> Flat:
    """[train] in full: options younger than a record have their default."""
    try:
        train = train_config(TrainConfig(), values, prefix)
    except UsageError:  # the record speaks of what is no longer known
        return _flat(prefix, values)
    values = train.model_dump(mode="json")
    values |= {"sampler": short(train.sampler), "metrics": [short(name) for name in train.metrics]}
    return _flat(prefix, values, leave=() if sized(train.memory) else ("memory_size",))


def _code(code: Mapping[str, str]) -> Flat:
    return _flat("code", {short(name): digest for name, digest in code.items()})


def _named(part: Mapping[str, Any]) -> dict[str, Any]:
    return {**part, "name": short(str(part["name"]))}


def _flat(prefix: str, values: Mapping[str, Any], leave: tuple[str, ...] = ()) -> Flat:
    """Dotted keys; what is None is as good as absent, and lists are compared as JSON has them."""
    plain = json.loads(json.dumps({key: value for key, value in values.items() if key not in leave}, default=str))
    return {f"{prefix}.{key}": value for key, value in plain.items() if value is not None}


def words(differences: Mapping[str, Any], most: int = 3) -> str:
    """ "learning_rate 0.3, rounds 5"; of another method, model or data set its name alone."""
    said: list[str] = []
    for part in WHOLE:
        if f"{part}.name" in differences:
            said.append(f"{part} {differences[f'{part}.name']}")
    for key, value in differences.items():
        part, _, name = key.partition(".")
        if f"{part}.name" in differences:
            continue
        if part == "start":
            said.append("another start" if value is not None else "no such start")
        elif part == "code":
            said.append(f"another source of {name}" if value is not None else f"no {name}")
        elif part == "versions":
            said.append(f"{name} version {'unknown' if value is None else value}")
        elif key == "data.hash":
            said.append(f"data {str(value)[:8]}")
        else:
            said.append(
                f"no {name}"
                if value is None
                else f"{name} {value:g}"
                if isinstance(value, float)
                else f"{name} {value}"
            )
    said = list(dict.fromkeys(said))
    return ", ".join(said[:most]) + (f" and {len(said) - most} more" if len(said) > most else "")
