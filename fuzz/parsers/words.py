"""What a person types: `name:key=value`, seeds, times and `key=value`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from data_prep.dealing.partition import canonical, partitioner
from data_prep.prepare import read_options
from selffl_cli import methods
from selffl_cli.cli.start import Asked, parse_duration, read_settings
from selffl_cli.config import sampler as selection
from selffl_cli.config.experiment import parse_seeds, set_key
from selffl_cli.config.spec import parse_spec

from ..parser import Parser


def text(good: str, read: Callable[[str], object]) -> tuple[Callable[[Path], None], str, Callable[[Path], object]]:
    """A parser of one string: its good input and reader as those of a file."""

    def make(folder: Path) -> None:
        (folder / "text").write_text(good, encoding="utf-8")

    def parse(folder: Path) -> object:  # arguments of a process hold any byte but NUL, as surrogates
        return read((folder / "text").read_bytes().decode("utf-8", "surrogateescape"))

    return make, "text", parse


def method(typed: str) -> object:
    name, options = parse_spec(typed)
    return methods.resolve(name, options)


def partition(typed: str) -> object:
    return partitioner(typed).words(), canonical(typed), read_options("digits", {"partition": typed})


def settings(typed: str) -> object:
    overrides, _ = read_settings(Asked("digits", [], [], [typed], Path("runs")))
    content: dict = {"train": {"rounds": 1}, "data": {"name": "digits"}}
    for key, value in overrides.items():
        set_key(content, key, value)
    return content


PARSERS = [
    Parser("method-spec", *text("actperfl:intra=fisher,max_steps=2.5", method), words=("ditto", ":", "lam=0.5", "-w")),
    Parser(
        "partition-spec",
        *text("dirichlet:alpha=0.3,spread=0.6,min=2", partition),
        words=("kmeans", "shards", "natural"),
    ),
    Parser(
        "sampler-spec",
        *text("activity:gamma=1,mix=0.1", lambda typed: selection.canonical(typed)),
        words=("poisson", "top"),
    ),
    Parser("seeds", *text("0-4,7,9-11", parse_seeds), words=("-", ",", "0-9999")),
    Parser("duration", *text("1.5h", parse_duration), words=("m", "s", ".")),
    Parser("set", *text("train.learning_rate=[0.05, {a = 1}]", settings), words=("data.name", "../x", "=", ".")),
]
