"""Experiments: the TOML and all that `selffl train` makes of it before any data is opened."""

from __future__ import annotations

from pathlib import Path

from data_prep.prepare import read_options
from selffl_cli import models
from selffl_cli.config.experiment import experiments_folder, load_experiment
from selffl_cli.planning.plan import resolve_method, select

from ..parser import Parser


def make(folder: Path) -> None:
    (folder / "x.toml").write_bytes((experiments_folder() / "ablation.toml").read_bytes())


def read(folder: Path) -> object:
    experiment = load_experiment(str(folder / "x.toml"))
    for _, _ in zip(range(50), experiment.settings(), strict=False):
        pass
    resolved = [resolve_method(experiment, label, table) for label, table in select(experiment, []).items()]
    options = {key: value for key, value in experiment.data.items() if key not in ("name", "source")}
    return resolved, models.resolve(experiment.model), read_options(experiment.data["name"], options)


PARSERS = [
    Parser("experiment", make, "x.toml", read, words=("[methods.x]", "name = ", '"../x"', "seeds", "sweep", "[tuning]"))
]
