"""The resolved record of one run: everything that changes its numbers. Its hash names the run folder."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from pydantic import field_validator

from ..registry import short
from . import memory as memories
from .train import YOUNGER, TrainConfig
from .validation import FILE_NAME, ExperimentName, Strict

# Raised when the engine's arithmetic or its random streams change, so that old runs are not taken for new ones;
# tests/methods/test_golden.py fails until it is.
ENGINE_VERSION = 1


WARM_START = "warm-start"  # the label of the run that makes an experiment's shared start


class RunConfig(Strict):
    """One run, resolved: written to run.toml, hashed into the folder's name."""

    experiment: ExperimentName
    label: str
    seed: int
    setting: dict[str, Any] = {}
    data: dict[str, Any]  # name, hash, partition, clients and the arguments it was prepared with
    model: dict[str, Any]  # name and every option, defaults written out
    train: TrainConfig
    method: dict[str, Any]  # name and every option, defaults written out
    versions: dict[str, int]  # engine, model, method
    noise: float | None = None  # multiplier that was given, or found for the target, with [train] privacy
    init: str = ""  # hash of the model it starts from; "" = the network's own start from the seed
    code: dict[str, str] = {}  # {name: sha256 of its source} of what [train] names from outside the package
    start: dict[str, Any] = {}  # what made that model: the record of the warm start, or the file's path

    @field_validator("data")
    @classmethod
    def _names_a_folder(cls, value: dict[str, Any]) -> dict[str, Any]:
        name = value.get("name")
        if not isinstance(name, str) or not FILE_NAME.fullmatch(name):
            raise ValueError("its name is letters, digits, '.', '_', '+' and '-', since it names a folder")
        for key in ("hash", "path"):
            if not isinstance(value.get(key, ""), str):
                raise ValueError(f"its {key} is a text")
        return value

    @field_validator("seed")
    @classmethod
    def _is_a_seed(cls, value: int) -> int:
        if not 0 <= value < 2**31:
            raise ValueError("a seed is a whole number from 0 to 2147483647")
        return value

    def key(self) -> str:
        """Eight hexadecimal digits over everything that changes the numbers."""
        content = self.model_dump(mode="json", exclude={"experiment", "label", "setting", "data", "start"})
        content["data"] = self.data["hash"]
        for part in ("model", "method"):  # of code from outside the package the content counts, not the folder
            content[part]["name"] = short(content[part]["name"])
        content["train"]["sampler"] = short(content["train"]["sampler"])
        content["train"]["metrics"] = [short(name) for name in content["train"]["metrics"]]
        content["code"] = {short(name): digest for name, digest in self.code.items()}
        if not self.code:
            del content["code"]
        if self.noise is None:
            del content["noise"]
        if not memories.sized(self.train.memory):
            content["train"]["memory_size"] = None
        for name in YOUNGER:  # an option that is off leaves the key as it was before there was one
            if content["train"][name] == TrainConfig.model_fields[name].get_default():
                del content["train"][name]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]

    def folder(self, runs: Path) -> Path:
        """runs/EXPERIMENT/DATA-LABEL-sSEED-HASH."""
        label = re.sub(r"[^A-Za-z0-9._+=-]", "_", self.label)[:60]
        return runs / self.experiment / f"{self.data['name']}-{label}-s{self.seed}-{self.key()}"
