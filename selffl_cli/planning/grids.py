"""`--set KEY=[a,b,c]`: a sweep from the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from ..config.inherit import experiment_path, read_experiment
from ..config.train import TrainConfig
from ..errors import SelfflError, UsageError

SWEPT = ("data", "model", "train", "methods")  # tables whose keys can be swept


def with_grids(name: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` for `load_experiment`, where each list for a key that is no list became a part of the sweep.

    A key whose value is a list by its type, such as model.hidden, keeps its meaning: a list of lists sweeps it. Keys
    that the experiment sweeps already are swept over the new values.
    """
    lists = {key: value for key, value in values.items() if isinstance(value, list) and key.partition(".")[0] in SWEPT}
    if not lists:
        return dict(values)
    content = read_experiment(experiment_path(name))
    kept = {key: value for key, value in values.items() if key not in lists}
    grids: dict[str, list[Any]] = {}
    for key, value in lists.items():
        nested = bool(value) and all(isinstance(item, list) for item in value)
        if not nested and _takes_a_list(key, content, values):
            kept[key] = value
            continue
        if not value:
            raise UsageError(f"--set {key}=[]: an empty list has nothing to sweep; give one value or several")
        if len({repr(item) for item in value}) != len(value):
            raise UsageError(f"--set {key}={value}: a value stands there twice")
        grids[key] = value
    if grids:
        kept["sweep"] = {**content.get("sweep", {}), **kept.get("sweep", {}), **grids}
    return kept


def _takes_a_list(key: str, content: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether a list is one value of this key, by its type; of a key that nobody knows, it is not."""
    owner, name = _owner(key, content, values)
    field = owner.model_fields.get(name) if owner is not None else None
    return field is not None and _holds_a_list(field.annotation)


def _owner(key: str, content: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[type[BaseModel] | None, str]:
    """The options among which the key is, and its name there."""
    table, *rest = key.split(".")
    name = rest[-1] if rest else ""
    try:
        if table == "train" or "train" in rest[:-1]:
            return TrainConfig, name
        if table == "model":
            from ..models import MODELS

            chosen = values.get("model.name", content.get("model", {}).get("name", ""))
            return MODELS[chosen].options_type, name
        if table == "data":
            from data_prep.prepare import dataset

            data = values.get("data", {})
            chosen = data.get("name") if isinstance(data, Mapping) else None
            return dataset(chosen or content.get("data", {}).get("name", "")).options_type, name
        from ..methods import method_class

        label = rest[0] if rest else ""
        own = content.get("methods", {}).get(label, {})
        return method_class(own.get("method", label)).options_type, name
    except SelfflError:  # an unknown name, which is named where it is used
        return None, name


def _holds_a_list(kind: Any) -> bool:
    return get_origin(kind) is list or kind is list or any(map(_holds_a_list, get_args(kind)))
