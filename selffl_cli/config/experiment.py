"""One experiment as typed, validated data: TOML in, one resolved record a run out.

The resolved record holds everything that changes the numbers; its hash names the run folder.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ..errors import UsageError, nearest
from .claims import Claim
from .inherit import experiment_names as experiment_names
from .inherit import experiment_path, read_experiment
from .inherit import experiments_folder as experiments_folder
from .train import ALTERNATIVES, TrainConfig
from .train import train_config as train_config
from .validation import FILE_NAME, Strict, validate

SEEDS = "seeds are different whole numbers from 0 to 2147483647"

MOST_TRIALS = 1000  # of a method: the largest shipped grid has a few dozen
MOST_SETTINGS = 10_000


def combinations(grid: Mapping[str, list[Any]]) -> int:
    """How many combinations of its values a grid has, without making them."""
    return math.prod(map(len, grid.values()))


class WarmStart(Strict):
    """A shared start: `method` trained for `rounds` before every method, once a seed."""

    method: str = "fedavg-w"
    rounds: int = Field(200, ge=1)
    train: dict[str, Any] = {}


class Tuning(Strict):
    """`[tuning]`: each method's grid, tried at a short horizon with a seed of its own, scored on validation data."""

    seed: int = Field(100, ge=0, lt=2**31)
    rounds: int = Field(ge=1)
    score: Literal["personal", "global"] = "personal"
    grids: dict[str, dict[str, list[Any]]] = Field(min_length=1)

    def trials(self) -> dict[str, list[dict[str, Any]]]:
        """{label: every combination of its grid, as {key: value}}."""
        return {
            label: [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
            for label, grid in self.grids.items()
        }

    @model_validator(mode="after")
    def _same_budget(self) -> Tuning:
        sizes = {label: combinations(grid) for label, grid in self.grids.items()}
        if len(set(sizes.values())) > 1:
            listed = ", ".join(f"{label} {size}" for label, size in sizes.items())
            raise ValueError(f"every method gets the same number of trials, these differ: {listed}")
        if max(sizes.values()) > MOST_TRIALS:
            raise ValueError(f"{max(sizes.values()):,} trials a method; at most {MOST_TRIALS:,} are carried out")
        return self


class ReportConfig(Strict):
    """What the report is read at: the `[report]` table. It changes no run."""

    false_rejects: float = Field(0.05, gt=0, lt=1, description="share of wake words that the baseline rejects")
    target: float | None = Field(None, description="figure whose first reaching is reported, such as 0.8")
    target_figure: str = Field("test.global.accuracy", description="the figure meant by target")


class Experiment(Strict):
    """One table or figure: data, model, methods, seeds and what is claimed of it."""

    name: str
    title: str = ""
    description: str = ""
    seeds: list[int] = Field([0], min_length=1)
    data: dict[str, Any]
    model: dict[str, Any]
    train: TrainConfig = TrainConfig()
    warm_start: WarmStart | None = None
    methods: dict[str, dict[str, Any]] = Field(min_length=1)
    tuning: Tuning | None = None
    sweep: dict[str, list[Any]] = {}
    report: ReportConfig = ReportConfig()
    claims: list[Claim] = []

    @field_validator("name")
    @classmethod
    def _file_name(cls, value: str) -> str:
        if not FILE_NAME.fullmatch(value):
            raise ValueError("a name is letters, digits, '.', '_', '+' and '-', since it names a folder")
        return value

    @field_validator("seeds")
    @classmethod
    def _seeds(cls, value: list[int]) -> list[int]:
        if len(set(value)) != len(value) or any(not 0 <= seed < 2**31 for seed in value):
            raise ValueError(SEEDS)
        return value

    @field_validator("sweep")
    @classmethod
    def _bounded(cls, value: dict[str, list[Any]]) -> dict[str, list[Any]]:
        if (settings := combinations(value)) > MOST_SETTINGS:
            raise ValueError(f"{settings:,} settings; at most {MOST_SETTINGS:,} are carried out")
        return value

    @field_validator("data", "model")
    @classmethod
    def _named(cls, value: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(value.get("name"), str):
            raise ValueError('needs a name = "…"')
        return value

    def settings(self) -> Iterator[dict[str, Any]]:
        """Every combination of the `[sweep]` values, as {dotted key: value}; one empty one without a sweep."""
        keys = list(self.sweep)
        for values in itertools.product(*self.sweep.values()):
            yield dict(zip(keys, values, strict=True))


def load_experiment(name: str, overrides: Mapping[str, Any] | None = None) -> Experiment:
    """Read an experiment by name or from a TOML file; `overrides` are {dotted key: value}."""
    path = experiment_path(name)
    content = read_experiment(path)
    set_keys(content, overrides or {})
    experiment = validate(Experiment, content, path.name)
    if experiment.tuning:
        for label in experiment.tuning.grids:
            if label not in experiment.methods:
                raise UsageError(
                    f"{path.name}: [tuning.grids.{label}]: no such method{nearest(label, experiment.methods)}"
                )
        if experiment.tuning.seed in experiment.seeds:
            raise UsageError(
                f"{path.name}: [tuning] seed {experiment.tuning.seed} is one of the reported seeds; use another"
            )
    for key in experiment.sweep:
        if key.partition(".")[0] not in ("data", "model", "train", "methods"):
            raise UsageError(f"{path.name}: sweep key '{key}' is not one of data., model., train. or methods.")
    return experiment


def set_keys(content: dict[str, Any], values: Mapping[str, Any]) -> None:
    """Set every dotted key. In a table `train` one of two alternatives, such as local_steps, drops the other; another
    model's name drops the options of the one before."""
    model = content.get("model")
    if isinstance(model, dict) and values.get("model.name", model.get("name")) != model.get("name"):
        content["model"] = {}
    for key, value in values.items():
        set_key(content, key, value)
        table, _, last = key.rpartition(".")
        other = ALTERNATIVES.get(last)
        if other is None or table.rpartition(".")[2] != "train" or f"{table}.{other}" in values:
            continue
        where: Any = content
        for part in table.split("."):
            where = where[part]
        where.pop(other, None)


def warm_start_note(experiment: Experiment, overrides: Mapping[str, Any]) -> str | None:
    """What to say of values for `[train]` that change the warm start as well, from which every method starts."""
    if experiment.warm_start is None:
        return None
    own = {"rounds", *experiment.warm_start.train}
    keys = [key.removeprefix("train.") for key in overrides if key.startswith("train.")]
    shared = [key for key in keys if key not in own and not key.startswith("eval_")]
    if not shared:
        return None
    return (
        f"train.{', train.'.join(shared)}: set for the methods and for the warm start that they begin with. "
        f"--set warm_start.train.{shared[0]}=… sets the warm start alone, --set methods.LABEL.train.{shared[0]}=… one "
        "method alone"
    )


def set_key(content: dict[str, Any], dotted: str, value: Any) -> None:
    """Set `a.b.c` in nested tables, making tables on the way."""
    *parents, last = dotted.split(".")
    for part in parents:
        content = content.setdefault(part, {})
        if not isinstance(content, dict):
            raise UsageError(f"--set {dotted}: '{part}' is a value, not a table")
    content[last] = value


def apply_setting(experiment: Experiment, setting: Mapping[str, Any]) -> Experiment:
    """The experiment at one point of its sweep."""
    if not setting:
        return experiment
    content = experiment.model_dump(mode="json", exclude_defaults=False)
    set_keys(content, setting)
    return validate(Experiment, content, experiment.name)


def parse_seeds(text: str) -> list[int]:
    """`"0-4"`, `"3"`, `"0,2,7-9"` → seeds in the order given."""
    seeds: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d{1,10})(?:-(\d{1,10}))?\s*", part)
        if not match:
            raise UsageError(f"--seeds '{text}': '{part}' is not a number or a range such as 0-4")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first or last - first > 9999:
            raise UsageError(f"--seeds '{text}': the range {part} is empty or longer than 10000")
        seeds.extend(range(first, last + 1))
    if len(set(seeds)) != len(seeds) or max(seeds) >= 2**31:
        raise UsageError(f"--seeds '{text}': {SEEDS}")
    return seeds
