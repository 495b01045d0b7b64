"""Score a finished run again from its saved models and its shards."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .. import models
from ..config.run import RunConfig
from ..config.validation import validate
from ..engine.evaluation import Sums, batch, evaluate_global, evaluate_rows, summary, units
from ..engine.flat import DevicePart, FlatModel
from ..engine.parallel.collective import Collective
from ..errors import SelfflError
from ..models.task import TASKS, prediction
from ..runs.folder import MODELS, RunFolder
from ..runs.models import global_model
from ..shards import Shards


@dataclass
class Scored:
    """A finished run with its data and models at hand."""

    folder: RunFolder
    shards: Shards

    @classmethod
    def open(cls, path: Path, data: Path | None) -> Scored:
        """The run in `path`, on the shards it was trained on (or the same ones, now at `data`)."""
        folder = RunFolder.open(path)
        if folder.result is None:
            raise SelfflError(f"{path}: this run is not finished; run its `selffl train` again to resume it")
        record = folder.record["data"]
        place = data or Path(str(record.get("path", "")))
        if not place.is_dir():
            raise SelfflError(f"{path}: its data {place} is gone; prepare it again, or point to it with --data FOLDER")
        folder.check(MODELS)
        shards = Shards.open(place)
        if shards.hash != record["hash"]:
            raise SelfflError(
                f"{path}: trained on data {record['hash']}, but {place} holds {shards.hash}; use --data FOLDER"
            )
        return cls(folder, shards)

    @cached_property
    def config(self) -> RunConfig:
        return validate(RunConfig, self.folder.record, str(self.folder.path))

    @cached_property
    def model(self) -> FlatModel:
        dtype = getattr(torch, self.config.train.dtype)
        module = models.build(models.resolve(self.config.model)[0], self.shards, self.config.seed)
        return FlatModel(module, TASKS[self.shards.manifest.task], torch.device("cpu"), dtype)

    def global_(self) -> Tensor | None:
        """The saved global model [P]; None when the method has none or none was kept."""
        named = self._stored("global/")
        return self.model.flatten(global_model(self.folder.path / MODELS)) if named else None

    def personal(self) -> Tensor | None:
        """The saved personal models [M, P]; None when they were not kept."""
        if not self._stored("personal"):
            return None
        with safe_open(self.folder.path / MODELS, framework="pt") as file:
            try:
                layout = json.loads(file.metadata()["layout"])
            except (KeyError, TypeError, ValueError, RecursionError):
                layout = None
            rows = file.get_tensor("personal")
        shape = (self.shards.num_clients, self.model.size)
        if layout != {k: list(v) for k, v in self.model.layout.items()} or tuple(rows.shape) != shape:
            raise SelfflError(f"{self.folder.path / MODELS}: its parameters are not this model's; train again")
        return rows.to(self.model.dtype)

    def _stored(self, prefix: str) -> bool:
        try:
            with safe_open(self.folder.path / MODELS, framework="pt") as file:
                return any(name.startswith(prefix) for name in file.keys())  # noqa: SIM118 - not a dict
        except (OSError, ValueError, SafetensorError) as error:
            raise SelfflError(f"{self.folder.path / MODELS}: cannot be read ({error}); train the run again") from None

    def sums(self, parts: list[str]) -> dict[str, Sums]:
        """Per-client sums of scores and losses: {"global"|"personal": {part: [2, M]}}."""
        wanted = {name: self.part(name) for name in parts}
        out: dict[str, Sums] = {}
        theta, rows = self.global_(), self.personal()
        if theta is not None:
            out["global"] = evaluate_global(self.model, theta, wanted, Collective())
        if rows is not None:
            own: Sums = {name: np.zeros((2, self.shards.num_clients)) for name in parts}
            evaluate_rows(self.model, rows, np.arange(self.shards.num_clients), wanted, own)
            out["personal"] = own
        return out

    def summaries(self, parts: list[str]) -> dict[str, dict[str, Any]]:
        """{part: {"global"|"personal": figures over clients}}."""
        sums, task = self.sums(parts), self.model.task
        return {
            part: {kind: summary(own[part], units(task, self.part(part)), task) for kind, own in sums.items()}
            for part in parts
        }

    def part(self, name: str) -> DevicePart:
        """One part of the data, as the model reads it."""
        return DevicePart(self.shards.part(name), torch.device("cpu"), self.model.dtype)

    def predictions(self, parts: list[str]) -> dict[str, Any]:
        """Columns, one row a sample and model: part, client, sample, model, label, predicted, class probabilities."""
        columns: dict[str, list[Any]] = {}
        theta, rows = self.global_(), self.personal()
        for name in parts:
            part = self.part(name)
            for client in range(self.shards.num_clients):
                x, y = part.client(client)
                if not len(y):
                    continue
                size = batch(x)
                for kind, vector in (("global", theta), ("personal", None if rows is None else rows[client])):
                    if vector is None:
                        continue
                    pieces = [self.model.outputs(vector, x[i : i + size]) for i in range(0, len(y), size)]
                    chances = prediction(torch.cat(pieces))
                    block: dict[str, Any] = {"part": [name] * len(y), "client": [client] * len(y),
                             "sample": range(len(y)),
                             "model": [kind] * len(y), "label": y.tolist(), "predicted": chances.argmax(-1).tolist(),
                             **{f"p_{c}": chances[:, c].tolist() for c in range(chances.shape[1])}}  # fmt: skip
                    for key, values in block.items():
                        columns.setdefault(key, []).extend(values)
        return columns
