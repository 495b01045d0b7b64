"""Run a record again: from run.toml alone to the same run in another place, and whether it gave the same numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import methods, models
from ..config.run import RunConfig
from ..config.validation import validate
from ..errors import SelfflError, UsageError
from ..files.regular import read_regular
from ..files.tensors import open_tensors
from ..files.toml import read_toml_bytes
from ..runs.folder import CLIENTS, MODELS, RECORD, RunFolder
from ..shards import Shards, sha256
from ..training.controls import Keep
from .plan import PlannedRun, data_record, versions

TIMES = ("seconds", "eval_seconds", "files", "traits")  # of a result, not numbers of the method


@dataclass
class RerunPaths:
    """Where what a record needs is now, and where the new run goes."""

    runs: Path
    data_folder: Path = Path("data")
    data: Path | None = None  # a shard folder
    source: str | None = None
    init: Path | None = None


def read_record(path: Path) -> tuple[RunConfig, RunFolder | None]:
    """A run folder or its run.toml: the record, and the folder where it is one of a finished run."""
    file = path / RECORD if path.is_dir() else path
    if not file.is_file():
        raise UsageError(f"{path}: not a run folder or its {RECORD}")
    folder = RunFolder(file.parent) if file.name == RECORD else None
    finished = folder if folder is not None and folder.result is not None else None
    try:
        content = finished.record if finished else read_toml_bytes(read_regular(file))
    except (OSError, ValueError, RecursionError) as error:
        raise SelfflError(f"{file}: cannot be read ({error})") from None
    return validate(RunConfig, content, str(file)), finished


def replan(config: RunConfig, place: RerunPaths, shards: Shards | None = None) -> PlannedRun:
    """The recorded run as one to be carried out; SelfflError where this selffl or the data are others."""
    _same_versions(config)
    shards = shards or _shards(config.data, place)
    warm, start = None, None
    if "experiment" in config.start:  # the record of the run that made the start
        warm = replan(validate(RunConfig, config.start, "[start]"), place, shards)
        start = warm.folder / MODELS
    elif config.init:
        start = _start_file(config, place.init)
    again = config.model_copy(update={"data": data_record(shards)})
    return PlannedRun(again, shards, again.folder(place.runs), start, warm)


def _same_versions(config: RunConfig) -> None:
    options = {key: value for key, value in config.method.items() if key != "name"}
    model, method = models.resolve(config.model)[1], methods.resolve(config.method["name"], options)[1]
    here = versions(model, method, config.train)
    for name, version in config.versions.items():
        if here.get(name) != version:
            raise SelfflError(
                f"made by version {version} of the {name}, this selffl has version {here.get(name)}; check out the "
                "commit in the run's environment.json to run it again"
            )


def _shards(record: dict[str, Any], place: RerunPaths) -> Shards:
    """The data of a record: where it was, at `--data`, or prepared again."""
    from data_prep.prepare import find_or_prepare

    path = place.data or Path(record["path"])
    if place.data is not None or path.is_dir():
        shards = Shards.open(path)
        if shards.hash == record["hash"]:
            return shards
        if place.data is not None:
            raise SelfflError(f"--data {path}: holds {shards.hash}, the run was trained on {record['hash']}")
    wanted = ", ".join(f"{source['name']} (sha256 {source['sha256']})" for source in record.get("sources", []))
    try:
        made = Shards.open(find_or_prepare(record["name"], record["arguments"], place.data_folder, place.source))
    except UsageError as error:
        hint = f" made from {wanted}" if wanted else ""
        raise SelfflError(
            f"the run's data {record['name']} {record['hash']}{hint} is not at {path} and cannot be prepared here "
            f"({error}); give it by --data FOLDER or --source FILE"
        ) from None
    if made.hash != record["hash"]:
        raise SelfflError(
            f"{made.path}: prepared with the run's arguments it holds {made.hash}, not {record['hash']}"
            + (f"; its source was {wanted}" if wanted else "")
        )
    return made


def _start_file(config: RunConfig, given: Path | None) -> Path:
    path = given or Path(config.start.get("path", ""))
    path = path / MODELS if path.is_dir() else path
    if not path.is_file() or sha256(path)[:16] != config.init:
        raise SelfflError(f"the run started from a model of sha256 {config.init}…; give it by --init FILE")
    return path


def kept(folder: RunFolder | None) -> Keep:
    """Which models a run kept: the new one keeps the same."""
    if folder is None:
        return "auto"
    with open_tensors(folder.check(MODELS), "train the run again") as file:
        names = set(file.keys())
    return "personal" if "personal" in names else "global" if names else "none"


def differences(first: RunFolder, second: RunFolder, models: bool = True) -> Iterator[str]:
    """Every kind of number in which two finished runs differ, with the first place; times do not count.

    models: whether the models are compared too, which the first run may have been handed on without.
    """
    lines = [(one, two) for one, two in zip(first.metrics(), second.metrics(), strict=False)]
    if len(first.metrics()) != len(second.metrics()):
        yield f"{len(first.metrics())} rounds, then {len(second.metrics())}"
    for one, two in lines:
        changed = [key for key in one if key != "time" and one[key] != two.get(key)]
        if changed:
            was, now = (str(line.get(changed[0]))[:60] for line in (one, two))
            yield f"round {one['round']}: {changed[0]} {was}, then {now}"
            break
    results = [{k: v for k, v in (run.result or {}).items() if k not in TIMES} for run in (first, second)]
    if results[0] != results[1]:
        yield "the final figures"
    one, two = (run.clients.to_pydict() for run in (first, second))
    changed = [name for name in one if repr(one[name]) != repr(two.get(name))]  # NaN equals NaN
    if changed:
        yield f"{CLIENTS}: {changed[0]}"
    if models and first.read(MODELS) != second.read(MODELS):
        yield "the models"
