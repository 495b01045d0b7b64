"""One run, from its resolved record to a finished run folder. The whole training loop is on this page."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config.run import RunConfig
from ..engine.evaluation import Sums
from ..engine.parallel.collective import Collective
from ..engine.parallel.torchrun import Team
from ..engine.parallel.workers import run_ranks
from ..engine.store import disk_full
from ..machine.allocator import keep_freed_memory
from ..machine.environment import describe
from ..runs.checkpoint import TABLES, Saved
from ..runs.folder import ENVIRONMENT, METRICS, PARTICIPATIONS
from ..shards import Shards
from .controls import Controls, Line, Stopped
from .delivery import deliver
from .federation import Federation
from .finish import GLOBAL, finish
from .judge import Judge, finite
from .totals import Totals

GO, SAVE, STOP = 0, 1, 2


class Training(Federation):
    """A federation as it is trained: its rounds, its evaluations, and what has been saved of it."""

    def __init__(
        self, config: RunConfig, shards: Shards, folder: Path, start: dict[str, Tensor] | None, controls: Controls
    ) -> None:
        super().__init__(config, shards, folder, start, controls)
        self.judge = Judge(self)
        self.touched: list[np.ndarray] = []  # clients of the rounds since the last checkpoint
        self.written = hashlib.sha256()  # of metrics.jsonl
        self.totals, self.done = Totals(), -1  # the last finished round

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
        line, sums = self._ended(collective)
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
                    elif round_ == self.rounds and lost is None and self.config.train.delivery_rounds:
                        command = SAVE  # so that a kill during delivery costs no round
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
        delivers = self.config.train.delivery_rounds and "diverged" not in line
        delivered = deliver(self, self.judge, collective) if delivers else None
        return finish(self, self.judge, vars(self.totals), line, sums, delivered) if master else {}

    def _ended(self, collective: Collective) -> tuple[Line, dict[str, Sums]]:
        """The last line and scores of a run whose rounds were done when it was stopped; empty where some are left."""
        line: Line = {}
        if collective.rank == 0 and self.done >= 0 and self.config.train.delivery_rounds:
            line = self.folder.metrics()[-1]
            line = line if self.done == self.rounds or ("eval" in line and self._reached(line)) else {}
        ended = int(collective.broadcast(torch.tensor(int(bool(line)))))
        if not ended:
            return {}, {}
        self.rounds = self.done
        return line, self.judge.evaluate(self.done, collective)

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
