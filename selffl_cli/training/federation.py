"""What a run needs: data, model, method, client rows and engine; built before workers fork, so that they share it."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import models
from ..config import sampler as sampler_options
from ..config.run import WARM_START, RunConfig
from ..config.train import TrainConfig
from ..continual.stream import Stream, by_period
from ..engine.auto import Choice, choose, resumed_engine
from ..engine.cohort import Cohort, RoundConfig, Truth
from ..engine.flat import DevicePart, FlatModel
from ..engine.parallel.collective import Collective
from ..engine.sequential import SequentialCohort
from ..engine.stacked.cuda import set_precision
from ..engine.stacked.engine import StackedCohort, stacked_engine
from ..engine.store import ClientStore, shared_zeros
from ..errors import SelfflError, UsageError
from ..methods import build as build_method
from ..metrics import read_metrics
from ..models.task import TASKS
from ..privacy.run import PrivateRun
from ..runs.checkpoint import TABLES, Checkpoints
from ..runs.folder import CHECKPOINT, PARTICIPATIONS, RunFolder
from ..runs.roles import Roles, assign_roles
from ..sampling import draw as selection
from ..sampling.unbiased import Unbiased
from ..shards import PARTS, Shards
from .controls import Controls

KEEP_LIMIT = 100 * 2**20  # personal models above this many bytes are not kept by default


class Federation:
    """The clients and the server of one run, and the engine that trains them."""

    def __init__(
        self, config: RunConfig, shards: Shards, folder: Path, start: dict[str, Tensor] | None, controls: Controls
    ) -> None:
        train = config.train
        device, dtype = torch.device(controls.device), getattr(torch, train.dtype)
        self.config, self.shards, self.folder, self.controls = config, shards, RunFolder(folder), controls
        self.task = TASKS[shards.manifest.task]
        set_precision(train.precision, device)
        module = models.build(config.model, shards, config.seed)
        self.model = FlatModel(
            module, self.task, device, dtype, train.precision == "bf16", read_metrics(train.metrics, config.code)
        )
        self.parts = {name: DevicePart(shards.part(name), device, dtype) for name in PARTS}
        self.scored = judged_parts(train, shards, self.parts)
        sizes = self.parts["train"].sizes
        self.roles = assign_roles(config.seed, sizes, train.new_clients, train.eval_clients)
        self.pool = self.roles.pool
        self.pool_sizes = sizes[self.pool]
        self.sampler = sampler_options.sampler(train.sampler, config.code)
        if not len(self.pool):
            raise SelfflError(f"{shards.path}: no client has a training sample; prepare data that has")
        self.batch_size = None if train.batch_size == "full" else int(train.batch_size)
        self.store = ClientStore(shards.num_clients, device)
        self.store.add(PARTICIPATIONS, torch.zeros((), dtype=torch.int64))
        self.method = build_method(config.method)
        self.truth = None
        if shards.manifest.task == "gaussian":
            variance = torch.tensor(shards.clients["variance"].to_numpy(), device=device)
            self.truth = Truth(float(shards.manifest.notes["s0"]), variance)
        self.state = self.method.init(self.model.start if start is None else self.model.flatten(start), self.store)
        self.private = None
        if train.privacy:
            self.private = PrivateRun(
                config, self.pool_sizes, self.method.global_(self.state), shards.periods if train.periods else 1
            )
        self.checkpoints = Checkpoints(folder / CHECKPOINT)
        self.engine = self._choose_engine(device.type)
        self.stacked = None
        if self.engine.name == "stacked":
            self.stacked = stacked_engine(self.model, self.parts["train"], self.batch_size, controls.seat)
        self.kept: Tensor | None = None
        small = shards.num_clients * self.model.size * self.model.vector.element_size() <= KEEP_LIMIT
        self.keeps_global = controls.keep != "none" or config.label == WARM_START  # others start from it
        small = small and self.roles.everyone  # models that nobody asks for are not made
        self.keeps_personal = controls.keep == "personal" or (controls.keep == "auto" and small)
        if self.keeps_personal or (small and scored_by_speaker(shards)):
            self.kept = shared_zeros((shards.num_clients, self.model.size), dtype)
        self.delivered: Tensor | None = None  # delivered models, where models are kept
        if self.keeps_personal and train.delivery_rounds:
            self.delivered = shared_zeros((shards.num_clients, self.model.size), dtype)
        self.stream = Stream(train, shards, self.parts["train"], self.store, config.seed)
        self.rounds = self.private.budget.rounds if self.private else self.stream.rounds

    def _choose_engine(self, device: str) -> Choice:
        """As asked; a run that goes on from a checkpoint keeps its engine unless told otherwise."""
        asked, alone = self.controls.engine, self.private is not None and not self.private.of_users
        if alone and asked == "stacked":
            raise UsageError("--engine stacked: gradients private by sample are taken one client after another")
        made_by = self.checkpoints.made_by()
        if asked == "auto" and made_by is not None:
            asked = resumed_engine(made_by, device)
        name = self.config.model["name"]
        return choose("sequential" if alone else asked, name, self.model.size, device)

    def cohort(
        self, clients: np.ndarray, round_: int, collective: Collective, store: ClientStore | None = None
    ) -> Cohort:
        """These clients with the engine that trains them."""
        train = self.config.train
        make = SequentialCohort if self.stacked is None else partial(StackedCohort, self.stacked)
        data, budget = self.stream.at(round_)
        config = RoundConfig(self.config.seed, round_, self.batch_size, train.learning_rate, self.truth)
        cohort: Cohort = make(self.model, data, store or self.store, collective, clients, budget, config)
        cohort.private = self.private.gradient(round_, self.batch_size) if self.private else None
        return cohort

    def selected(self, round_: int, collective: Collective) -> Cohort:
        """The clients of a round, by the run's sampler, with the aggregation that its weighting asks for."""
        train = self.config.train
        sizes = self.pool_sizes if self.stream.periods == 1 else self.stream.fresh(round_)[self.pool]
        size, unbiased = train.cohort_size(len(self.pool)), train.weighting == "unbiased"
        chosen = selection.choose(self.sampler, self.config.seed, round_, sizes, size, replace=unbiased)
        cohort = self.cohort(self.pool[chosen.positions], round_, collective)
        if unbiased:
            ratio = torch.zeros(self.shards.num_clients, dtype=torch.float64, device=self.model.device)
            ratio[cohort.everyone.new_tensor(self.pool[chosen.positions])] = torch.as_tensor(chosen.ratio).to(ratio)
            cohort.aggregation = Unbiased(ratio, int(sizes.sum()), len(self.pool))
        if self.private:
            self.private.prepare(cohort, self.state)
        return cohort

    @property
    def tables(self) -> Path | None:
        """The folder of tables on disk; None when they are in memory."""
        return self.checkpoints.folder / TABLES if self.controls.client_store == "disk" else None


def judged_parts(train: TrainConfig, shards: Shards, parts: dict[str, DevicePart]) -> dict[str, DevicePart]:
    """The parts that every evaluation of a run scores, in the order that its batches follow: those that `[train]`
    names, and with periods the test part cut by period too."""
    scored: dict[str, DevicePart] = {name: parts[name] for name in PARTS if name in train.eval_parts}
    if train.periods and "test" in scored:
        scored |= by_period(shards, "test", parts["test"])
    return scored


def of_scored(roles: Roles, parts: dict[str, DevicePart]) -> dict[str, DevicePart]:
    """The samples that an evaluation reads: batches hold those of the scored clients alone."""
    return parts if roles.everyone else {name: part.of(roles.scored) for name, part in parts.items()}


def of_newcomers(roles: Roles, test: DevicePart) -> tuple[DevicePart, np.ndarray]:
    """The test part that new clients are judged on, and their positions in it."""
    if roles.everyone:
        return test, roles.new_sample
    return test.of(roles.new_sample), np.arange(len(roles.new_sample))


def scored_by_speaker(shards: Shards) -> bool:
    """Whether a run on these shards leaves scores: two classes, and samples that say who is heard."""
    return len(shards.manifest.classes) == 2 and "speaker" in shards.part("test").arrays
