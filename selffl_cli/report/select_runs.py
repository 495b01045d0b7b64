"""Which run folders make up an experiment's tables, and which must not stand side by side."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from ..config.experiment import Experiment, apply_setting
from ..config.spec import parse_spec
from ..config.train import TrainConfig, train_config
from ..errors import SelfflError, UsageError
from ..runs.folder import RunFolder


def choose(experiment: Experiment, folders: list[RunFolder]) -> tuple[list[RunFolder], list[str]]:
    """One folder for each (label, setting, seed), and remarks for the page.

    Among several (options were changed between them): one made with the experiment's options as they stand
    now, and among those the last one started.
    """
    places: dict[tuple[str, str, int], list[RunFolder]] = defaultdict(list)
    for folder in folders:
        record = folder.record
        places[record["label"], str(sorted(record.get("setting", {}).items())), int(record["seed"])].append(folder)
    chosen: list[RunFolder] = []
    remarks: list[str] = []
    other: list[str] = []
    for rivals in places.values():
        current = [folder for folder in rivals if matches(experiment, folder.record)]
        best = max(current or rivals, key=lambda f: (str(f.environment.get("started", "")), f.path.name))
        chosen.append(best)
        if not current:
            other.append(best.path.name)
        if len(rivals) > 1:
            why = "made with the experiment's present options" if current else "started last"
            left = ", ".join(f"`{f.path.name}`" for f in rivals if f is not best)
            remarks.append(
                f"Of {len(rivals)} runs of one method and seed, `{best.path.name}` ({why}) is shown; not {left}."
            )
    if other:
        names = ", ".join(f"`{name}`" for name in other[:3]) + (f" and {len(other) - 3} more" if len(other) > 3 else "")
        remarks.append(f"Made with other options than the experiment's TOML states now: {names}.")
    return chosen, remarks


def matches(experiment: Experiment, record: Mapping[str, Any]) -> bool:
    """Whether a run's record agrees with every option that the experiment states for its label."""
    label = record["label"]
    if label not in experiment.methods:
        return False
    try:
        at = apply_setting(experiment, record.get("setting", {}))
        train = train_config(at.train, at.methods[label].get("train", {}), label)
        recorded = train_config(TrainConfig(), record["train"], label)  # keys younger than the run: their default
        stated_data, recorded_data = _data(at.data), _data({**record["data"], **record["data"].get("arguments", {})})
    except UsageError:  # the record speaks of what is no longer known
        return False
    method = {key: value for key, value in at.methods[label].items() if key not in ("method", "train")}
    return (
        train == recorded
        and _agrees(method, record["method"])
        and _agrees(stated_data, recorded_data)
        and _agrees(at.model, record["model"])
    )


def _data(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a data set; a partition's own options may stand in any order, and its defaults may be left out."""
    from data_prep.dealing.partition import canonical

    return {
        key: parse_spec(canonical(value)) if key == "partition" and isinstance(value, str) else value
        for key, value in options.items()
    }


def _agrees(stated: Mapping[str, Any], recorded: Mapping[str, Any]) -> bool:
    return all(recorded.get(key, value) == value for key, value in stated.items())


def refuse_mixed(folders: list[RunFolder]) -> None:
    """Runs of one seed and setting are compared with each other, so they share their data and their start."""
    for name, what, remedy in (
        ("data", "data", "train all of them on one data set"),
        ("init", "starts", "train all of them from one --init"),
    ):
        first: dict[tuple[str, int], tuple[str, RunFolder]] = {}
        for folder in folders:
            record = folder.record
            value = str(record["data"].get("hash", "") if name == "data" else record.get("init", ""))
            place = (str(sorted(record.get("setting", {}).items())), int(record["seed"]))
            known, other = first.setdefault(place, (value, folder))
            if known != value:
                raise SelfflError(
                    f"runs from different {what} cannot stand in one table: {other.path.name} and "
                    f"{folder.path.name} (seed {place[1]}); {remedy}, or move one set out of "
                    f"{folder.path.parent}"
                )
