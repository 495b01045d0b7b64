"""What the shell offers after the tab key: experiments, methods, samplers and other values of keys, data sets.

Nothing here imports torch, so that an answer takes as long as an import of pydantic.
"""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import typer

SPECS = ("train.sampler", "train.memory", "train.privacy")  # keys whose values are written name:key=value,…


def experiments(incomplete: str) -> list[str]:
    """Names of shipped experiments, and TOML files."""
    from ..config.inherit import experiment_names

    files = [path for path in _paths(incomplete) if path.endswith((".toml", "/"))]
    return [*_beginning(experiment_names(), incomplete), *files]


def methods(ctx: typer.Context, incomplete: str) -> list[str]:
    """Labels of the experiment that was typed, and every method."""
    from ..config.inherit import experiment_path, read_experiment
    from ..errors import SelfflError
    from ..methods import ALIASES, METHODS

    labels: Iterable[str] = ()
    for word in (*ctx.args, ctx.params.get("experiment"), "digits"):  # an option without its value leaves all in args
        with contextlib.suppress(SelfflError, KeyError):  # another word than an experiment's name
            labels = read_experiment(experiment_path(str(word)))["methods"]
            break
    return _beginning(dict.fromkeys([*labels, *METHODS.names(), *ALIASES]), incomplete)


def data(incomplete: str) -> list[str]:
    """Names of data sets, and folders."""
    from data_prep import DATASETS

    return [*_beginning(DATASETS.names(), incomplete), *(path for path in _paths(incomplete) if path.endswith("/"))]


def settings(incomplete: str) -> list[str]:
    """Keys of [train], and after `train.sampler=` and its like the names that it may be."""
    key, equals, value = incomplete.partition("=")
    return [f"{key}={choice}" for choice in _beginning(_choices(key), value)] if equals else _beginning(_keys(), key)


def _keys() -> list[str]:
    from ..config.train import TrainConfig

    return [f"train.{name}=" for name in TrainConfig.model_fields]


def _choices(key: str) -> list[str]:
    """The names or words that a key's value begins with."""
    from ..config.train import TrainConfig
    from .choices import choices

    if key in SPECS:
        return list(_kinds(key))
    field = TrainConfig.model_fields.get(key.removeprefix("train."))
    return [word for word in choices(field) if word != "a number"] if field else []


def _kinds(key: str) -> dict[str, Any]:
    from ..config.memory import MEMORIES
    from ..config.privacy import KINDS
    from ..config.sampler import SAMPLERS

    kinds: dict[str, Any] = {"train.sampler": SAMPLERS, "train.memory": MEMORIES, "train.privacy": KINDS}
    return kinds[key]


def _beginning(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


def _paths(incomplete: str) -> list[str]:
    """Files and folders that begin so; folders end in a slash."""
    return [f"{path}/" if Path(path).is_dir() else path for path in sorted(glob.glob(f"{glob.escape(incomplete)}*"))]
