"""One run, from its resolved record to a finished run folder. The whole training loop is on this page."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import models
from ..config.run import WARM_START, RunConfig
from ..continual.stream import Stream, by_period
from ..engine.auto import Choice, choose, resumed_engine
from ..engine.cohort import Cohort, Truth
from ..engine.flat import DevicePart, FlatModel
from ..engine.parallel.collective import Collective
from ..engine.parallel.torchrun import Team
from ..engine.parallel.workers import run_ranks
from ..engine.sequential import SequentialCohort
from ..engine.stacked.cuda import set_precision
from ..engine.stacked.engine import StackedCohort, stacked_engine
from ..engine.store import ClientStore, disk_full, shared_zeros
from ..errors import SelfflError, UsageError
from ..machine.allocator import keep_freed_memory
from ..machine.environment import describe
from ..methods import build as build_method
from ..models.task import TASKS
from ..privacy.run import PrivateRun
from ..runs.checkpoint import TABLES, Checkpoints, Saved
from ..runs.folder import CHECKPOINT, ENVIRONMENT, METRICS, PARTICIPATIONS, RunFolder
from ..sampling import draw as selection
from ..sampling import options as sampler_options
from ..sampling.unbiased import Unbiased
from ..shards import PARTS, Shards
from .controls import Controls, Line, Stopped
from .finish import GLOBAL, finish
from .judge import Judge, finite
from .outputs import scored_by_speaker
from .totals import Totals

GO, SAVE, STOP = 0, 1, 2
KEEP_LIMIT = 100 * 2**20  # personal models above this many bytes are not kept by default


class Training:
    """Everything a run needs, built before the workers are forked so that they share it."""

    def __init__(
        self, config: RunConfig, shards: Shards, folder: Path, start: dict[str, Tensor] | None, controls: Controls
    ) -> None:
        train = config.train
        device, dtype = torch.device(controls.device), getattr(torch, train.dtype)
        self.config, self.shards, self.folder, self.controls = config, shards, RunFolder(folder), controls
        self.task = TASKS[shards.manifest.task]
        set_precision(train.precision, device)
        module = models.build(config.model, shards, config.seed)
        self.model = FlatModel(module, self.task, device, dtype, bf16=train.precision == "bf16")
        self.parts = {name: DevicePart(shards.part(name), device, dtype) for name in PARTS}
        self.scored: dict[str, DevicePart] = {name: self.parts[name] for name in PARTS if name in train.eval_parts}
        if train.periods and "test" in self.scored:
            self.scored |= by_period(shards, "test", self.parts["test"])
        sizes = self.parts["train"].sizes
        self.newcomers = selection.new_clients(config.seed, train.new_clients, shards.num_clients)
        everyone = np.arange(shards.num_clients)
        # the clients that figures speak of, and those of them that train
        self.judged = np.setdiff1d(everyone, self.newcomers) if len(self.newcomers) else everyone
        self.pool = selection.training_pool(config.seed, train.new_clients, sizes)
        self.pool_sizes = sizes[self.pool]
        self.sampler = sampler_options.sampler(train.sampler)
        if not len(self.pool):
            raise SelfflError(f"{shards.path}: no client has a training sample; prepare data that has")
        self.batch_size = None if train.batch_size == "full" else int(train.batch_size)
        self.store = ClientStore(shards.num_clients, device)
        self.store.add(PARTICIPATIONS, torch.zeros((), dtype=torch.int64))
        self.touched: list[np.ndarray] = []  # clients of the rounds since the last checkpoint
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
        self.judge = Judge(self)
        small = small and self.judge.all  # models that nobody asks for are not made
        self.keeps_personal = controls.keep == "personal" or (controls.keep == "auto" and small)
        if self.keeps_personal or (small and scored_by_speaker(shards)):
            self.kept = shared_zeros((shards.num_clients, self.model.size), dtype)
        self.stream = Stream(train, shards, self.parts["train"], self.store, config.seed)
        self.rounds = self.private.budget.rounds if self.private else self.stream.rounds
        self.written = hashlib.sha256()  # of metrics.jsonl
        self.totals, self.done = Totals(), -1  # the last finished round

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
        cohort: Cohort = make(
            self.model, data, store or self.store, collective, clients, budget,
            seed=self.config.seed, round_=round_, batch_size=self.batch_size,
            learning_rate=train.learning_rate, truth=self.truth,
        )  # fmt: skip
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

    def run(self) -> dict[str, Any]:
        """Train what is left of the run and return its result; Stopped when asked to stop before its end."""
        team = self.controls.team
        if team:
            team.compare_data(str(self.shards.path), self.shards.hash)  # before anything is written
        with self.folder.locked():
            if self.folder.result is not None:  # another process finished it in the meantime
                return self.folder.result
            try:
                self._begin()
                keep_freed_memory()
                result = self._lead(team) if team else run_ranks(self.controls.workers, self.take_part)
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
                raise disk_full(Path(error.filename or self.folder.path), error) from None
            finally:
                self.store.close()
        if result is None:
            raise Stopped
        return result

    @property
    def tables(self) -> Path | None:
        """The folder of tables on disk; None when they are in memory."""
        return self.checkpoints.folder / TABLES if self.controls.client_store == "disk" else None

    def _begin(self) -> None:
        """Take up the newest checkpoint, or start anew; metrics are cut back to what it covers."""
        self.folder.write_record(self.config.model_dump(mode="json", exclude_none=True))
        shutil.rmtree(self.checkpoints.folder / TABLES, ignore_errors=True)  # of a run that was killed
        self.store.open(self.tables)
        saved = self.checkpoints.load(self.state)
        if saved:
            self.done, self.totals = saved.round, Totals(**saved.counts)
        with open(self.folder.path / METRICS, "a+b") as file:
            file.truncate(saved.metrics_bytes if saved else 0)
            file.seek(0)
            self.written = hashlib.sha256(file.read())
        self.folder.write_json(ENVIRONMENT, describe(self.controls.device, self.controls.workers, self.engine.name))

    def _lead(self, team: Team) -> dict[str, Any] | None:
        """Send the run to the other ranks that torchrun started, and take part in it."""
        controls = self.controls
        team.tell({
            "config": self.config.model_dump(mode="json"), "data": str(self.shards.path),
            "folder": str(self.folder.path), "keep": controls.keep, "client_store": controls.client_store,
            "engine": self.engine.name,
        })  # fmt: skip
        return team.run(self.take_part)

    @torch.no_grad()
    def take_part(self, collective: Collective) -> dict[str, Any] | None:
        """The program of every rank: rank 0's is the run's result, None when it was asked to stop before its end."""
        torch.set_num_threads(1)
        if self.controls.team is not None:  # no memory is shared: every rank gets rank 0's state
            self.controls.team.equalise(self.state.server, self.store)
            self.done, totals = self.controls.team.tell([self.done, vars(self.totals)])
            self.totals = Totals(**totals)
        master = collective.rank == 0
        metrics = open(self.folder.path / METRICS, "ab") if master else None  # noqa: SIM115 - closed at the end
        begun, before, saved_at = time.perf_counter(), self.totals.seconds, time.perf_counter()
        line: Line = {}
        try:
            for round_ in range(self.done + 1, self.rounds + 1):  # round 0: the start, evaluated
                line = self._round(round_, collective) if round_ else {"round": 0}
                lost = line.get("diverged")
                if self.stream.evaluates(round_) or round_ == self.rounds or lost is not None:
                    start = time.perf_counter()
                    sums = self.judge.evaluate(round_, collective)
                    line["eval"] = self.judge.summaries(sums)
                    if round_ < self.rounds and self._reached(line):
                        self.rounds = round_
                        sums = self.judge.evaluate(round_, collective)  # once more, to keep the personal models
                    if self.private:
                        line["privacy"] = self.private.spent(round_)
                    self.totals.eval_seconds += time.perf_counter() - start
                self.done = round_
                command = GO
                if metrics:
                    self.totals.seconds = before + time.perf_counter() - begun
                    line["time"] = self.totals.time()
                    text = json.dumps(line).encode() + b"\n"
                    metrics.write(text)
                    metrics.flush()
                    self.written.update(text)
                    spent = self.private.in_passing(round_) if self.private and "privacy" not in line else None
                    self.controls.watch({**line, "privacy": spent} if spent else line)
                    last = round_ == self.rounds or lost is not None
                    if not last and self.controls.should_stop():
                        command = STOP
                    elif not last and time.perf_counter() - saved_at > self.controls.checkpoint_seconds:
                        command = SAVE
                    if command != GO:
                        os.fsync(metrics.fileno())
                        touched = np.unique(np.concatenate([np.empty(0, np.int64), *self.touched]))
                        made_by = {"engine": self.engine.name, "device": self.controls.device}
                        text_hash = self.written.hexdigest()
                        saved = Saved(round_, metrics.tell(), vars(self.totals), text_hash, made_by)
                        self.checkpoints.save(self.state, touched, saved)
                        self.touched.clear()
                        saved_at = time.perf_counter()
                # also the fence between rounds: nobody writes client rows while rank 0 saves them
                command = int(collective.broadcast(torch.tensor(command)))
                if command == STOP:
                    return None
                if lost is not None or round_ == self.rounds:
                    break
            if metrics:
                os.fsync(metrics.fileno())
        finally:
            if metrics:
                metrics.close()
        return finish(self, line, sums) if master else {}

    def _reached(self, line: Line) -> bool:
        """Whether this evaluation found what `stop_at` asks for."""
        wanted = self.config.train.stop_at
        accuracy = line["eval"].get("validation", {}).get("global", {}).get("accuracy")
        return wanted is not None and accuracy is not None and accuracy >= wanted

    def _round(self, round_: int, collective: Collective) -> Line:
        """Train one round; its metrics, the same on every rank."""
        cohort = self.selected(round_, collective)
        if cohort.size or (self.private and self.private.of_users):  # nobody drawn: nothing changes but noise
            self.state = self.method.round(self.state, cohort)
        if self.private:
            self.private.finish(cohort, self.state)

        # before the exchanges below: a rank that rank 0 has heard of has written its rows, and they may be saved
        self.store.write(PARTICIPATIONS, cohort.clients, self.store.read(PARTICIPATIONS, cohort.clients) + 1)

        counts, totals = cohort.counts, self.totals
        worst = torch.zeros(collective.world, dtype=torch.int64)
        worst[collective.rank] = counts.diverged + 1
        lost = [int(client) - 1 for client in collective.add_up(worst) if client]
        gradients, samples = collective.add_up(torch.tensor([counts.gradients, counts.samples])).tolist()
        loss, steps = float(cohort.dealt.sum(counts.loss)), int(cohort.dealt.sum(counts.steps))
        per_client = {name: cohort.gather(values.double()).tolist() for name, values in counts.per_client.items()}
        down, up = self.method.traffic(self.model.size, self.model.head_size)
        bytes_each = cohort.size * self.model.vector.element_size()
        totals.add(gradients, samples, steps, up * bytes_each, down * bytes_each)
        cohort.dealt.share_rows(self.store)
        if collective.rank == 0:
            self.touched.append(cohort.everyone.cpu().numpy())
        memory = None if lost else self.stream.end_of_period(round_, self, collective)
        if memory:
            totals.bytes_down += memory["bytes_down"]
            totals.bytes_up += memory["bytes_up"]
            if collective.rank == 0:
                self.touched.append(self.pool)
        line: Line = {
            "round": round_, "clients": cohort.size, "steps": steps, "gradients": totals.gradients,
            "samples": totals.samples, "bytes_up": totals.bytes_up, "bytes_down": totals.bytes_down,
            "train_loss": finite(loss / max(steps, 1)) if cohort.size else None,
            "method": {k: finite(v) for k, v in counts.revealed.items()},
            "per_client": {"client": cohort.everyone.tolist(),
                           **{name: [finite(v) for v in values] for name, values in per_client.items()}},
        }  # fmt: skip
        if memory:
            line["memory"] = memory
        theta = self.method.global_(self.state)
        if theta is not None and not lost and not theta.isfinite().all():
            lost = [GLOBAL]  # finite models, but no finite mean of them
        if lost:
            line["diverged"] = min(lost)
        return line
