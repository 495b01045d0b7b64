"""Score a finished run again from its saved models and its shards."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import models
from ..config.run import RunConfig
from ..config.validation import validate
from ..engine.evaluation import Sums, batch, evaluate_global, evaluate_rows, fill_from_global, no_sums, summary, units
from ..engine.flat import DevicePart, FlatModel
from ..engine.parallel.collective import Collective
from ..errors import SelfflError
from ..files.tensors import open_tensors
from ..metrics import read_metrics
from ..metrics.metric import Metric
from ..models.task import TASKS, prediction
from ..runs.folder import MODELS, RunFolder
from ..runs.models import global_model
from ..runs.roles import Roles, assign_roles
from ..shards import PARTS, Shards
from ..training.federation import judged_parts, of_scored


@dataclass
class FinishedRun:
    """A finished run with its data and models at hand."""

    folder: RunFolder
    shards: Shards

    @classmethod
    def open(cls, path: Path, data: Path | None) -> FinishedRun:
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
    def metrics(self) -> tuple[Metric, ...]:
        """What the run recorded beside its task's own metric."""
        return read_metrics(self.config.train.metrics, self.config.code)

    @cached_property
    def model(self) -> FlatModel:
        dtype = getattr(torch, self.config.train.dtype)
        module = models.build(models.resolve(self.config.model)[0], self.shards, self.config.seed)
        return FlatModel(module, TASKS[self.shards.manifest.task], torch.device("cpu"), dtype, metrics=self.metrics)

    def global_(self) -> Tensor | None:
        """The saved global model [P]; None when the method has none or none was kept."""
        named = self._stored("global/")
        return self.model.flatten(global_model(self.folder.path / MODELS)) if named else None

    def personal(self) -> Tensor | None:
        """The saved personal models [M, P]; None when they were not kept."""
        if not self._stored("personal"):
            return None
        with open_tensors(self.folder.path / MODELS, "train the run again") as file:
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
        with open_tensors(self.folder.path / MODELS, "train the run again") as file:
            return any(name.startswith(prefix) for name in file.keys())  # noqa: SIM118 - not a dict

    @cached_property
    def roles(self) -> Roles:
        """Who trained and who was judged."""
        train = self.config.train
        return assign_roles(self.config.seed, self.part("train").sizes, train.new_clients, train.eval_clients)

    @cached_property
    def trained(self) -> np.ndarray:
        """Ids of the clients on whose training samples the run trained."""
        return self.folder.trained

    @cached_property
    def judged(self) -> dict[str, DevicePart]:
        """What the run's evaluations scored: the samples of its scored clients, in the batches that it took."""
        parts = {name: self.part(name) for name in PARTS}
        return of_scored(self.roles, judged_parts(self.config.train, self.shards, parts))

    def other(self, name: str) -> DevicePart:
        """A part that the run's evaluations left out, of the same clients."""
        return of_scored(self.roles, {name: self.part(name)})[name]

    def sums(self, parts: dict[str, DevicePart]) -> dict[str, Sums]:
        """Sums of scores and losses of the scored clients on `parts`: {"global"|"personal": {part: [2 + K, E]}}.

        Batches of a client's own model run over all of `parts`, so the same parts give the same numbers to the bit.
        """
        out: dict[str, Sums] = {}
        theta, rows = self.global_(), self.personal()
        if theta is not None:
            out["global"] = evaluate_global(self.model, theta, parts, Collective())
        if rows is not None:
            rows, places = rows[self.roles.scored], np.arange(len(self.roles.scored))
            own = no_sums(self.model, parts, len(places))
            if theta is not None:
                others = fill_from_global(rows, places, theta, out["global"], own)
                rows, places = rows[torch.from_numpy(others)], places[others]
            evaluate_rows(self.model, rows, places, parts, own)
            out["personal"] = own
        return out

    def summaries(self, wanted: list[str]) -> dict[str, dict[str, Any]]:
        """{part: {"global"|"personal": figures over the clients that were judged}}.

        Parts that the run evaluated are scored as the run did it, together; every other part is scored by itself.
        """
        groups = [self.judged] if set(wanted) & set(self.judged) else []
        groups += [{name: self.other(name)} for name in wanted if name not in self.judged]
        found = {name: figures for parts in groups for name, figures in self._figures(parts).items()}
        return {name: found[name] for name in wanted}

    def _figures(self, parts: dict[str, DevicePart]) -> dict[str, dict[str, Any]]:
        sums = self.sums(parts)
        return {
            name: {kind: self.figures(own[name], part) for kind, own in sums.items()} for name, part in parts.items()
        }

    def figures(self, sums: np.ndarray, part: DevicePart) -> dict[str, Any]:
        """Figures over the clients that were judged, from the sums [2 + K, E] of the scored ones on a part."""
        counted, task = self.roles.counted, self.model.task
        return summary(sums[:, counted], units(task, part, self.metrics)[:, counted], task, self.metrics)

    def part(self, name: str) -> DevicePart:
        """One part of the data with every client, as the model reads it."""
        return DevicePart(self.shards.part(name), torch.device("cpu"), self.model.dtype)

    def predictions(self, parts: list[str]) -> dict[str, Any]:
        """Columns, one row a sample of the judged clients and model: part, client, sample, model, label, predicted,
        class probabilities."""
        columns: dict[str, list[Any]] = {}
        theta, rows = self.global_(), self.personal()
        for name in parts:
            part = self.part(name)
            for client in self.roles.sample.tolist():
                for kind, vector in (("global", theta), ("personal", None if rows is None else rows[client])):
                    if vector is not None and part.sizes[client]:
                        for key, values in self._predicted(name, part, client, kind, vector).items():
                            columns.setdefault(key, []).extend(values)
        return columns

    def _predicted(self, name: str, part: DevicePart, client: int, kind: str, vector: Tensor) -> dict[str, Any]:
        x, y = part.client(client)
        size = batch(x)
        pieces = [self.model.outputs(vector, x[i : i + size]) for i in range(0, len(y), size)]
        chances = prediction(torch.cat(pieces))
        return {
            "part": [name] * len(y), "client": [client] * len(y), "sample": range(len(y)), "model": [kind] * len(y),
            "label": y.tolist(), "predicted": chances.argmax(-1).tolist(),
            **{f"p_{c}": chances[:, c].tolist() for c in range(chances.shape[1])},
        }  # fmt: skip
