"""One run, from its resolved record to a finished run folder. The whole training loop is on this page."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config.run import RunConfig
from ..engine.cohort import Cohort
from ..engine.evaluation import Sums
from ..engine.parallel.collective import Collective
from ..engine.parallel.workers import forked_ranks
from ..engine.store import disk_full
from ..machine.allocator import keep_freed_memory
from ..machine.environment import describe
from ..metrics.judged_by import ACCURACY
from ..runs.folder import ENVIRONMENT, PARTICIPATIONS
from ..shards import Shards
from .checkpointing import Checkpointing
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
        self.judge, self.saving = Judge(self), Checkpointing(self)
        self.totals, self.done = Totals(), -1  # the last finished round

    def run(self, ranks: AbstractContextManager[Collective | None] | None = None) -> dict[str, Any]:
        """Train what is left of the run and return its result; Stopped when asked to stop before its end.

        This is the program of every rank. Who leads the run gives no `ranks`; of the others the result is empty.
        """
        with ranks or self._leading() as collective, torch.no_grad():
            if collective is None:  # another process finished it in the meantime
                return self.folder.result or {}
            self._equalise()
            leads, command, begun, before = collective.rank == 0, GO, time.perf_counter(), self.totals.seconds
            line, sums = self._ended(collective)
            with self.saving.open() if leads else nullcontext():
                while self.done < self.rounds and "diverged" not in line and command != STOP:
                    line = {"round": self.done + 1}
                    if line["round"]:  # round 0: the start, evaluated
                        cohort = self.selected(line["round"], collective)
                        if cohort.size or (self.private and self.private.of_users):  # nobody: nothing changes but noise
                            self.state = self.method.round(self.state, cohort)
                        line |= self._account(cohort, collective)
                    if self._is_evaluated(line):
                        sums = self._evaluate(line, collective)
                    self.done = line["round"]
                    self.totals.seconds = before + time.perf_counter() - begun
                    command = self._record(line) if leads else GO
                    # also the fence between rounds: nobody writes client rows while rank 0 saves them
                    command = int(collective.broadcast(torch.tensor(command)))
            if command != STOP:
                delivers = self.config.train.delivery_rounds and "diverged" not in line
                delivered = deliver(self, self.judge, collective, self.totals.gradients) if delivers else None
                return finish(self, self.judge, vars(self.totals), line, sums, delivered) if leads else {}
        raise Stopped

    @contextmanager
    def _leading(self) -> Iterator[Collective | None]:
        """Hold the folder, take up what was saved, and call the other ranks; None where the run has a result."""
        team = self.controls.team
        if team:
            team.compare_data(str(self.shards.path), self.shards.hash)  # before anything is written
        with self.folder.locked():
            if self.folder.result is not None:
                yield None
                return
            try:
                self._begin()
                keep_freed_memory()
                if team:
                    controls = replace(self.controls, engine=self.engine.name).sent()
                    record = self.config.model_dump(mode="json")
                    places = {"data": str(self.shards.path), "folder": str(self.folder.path)}
                    team.tell({"config": record, "controls": controls, **places})
                with team.together() if team else forked_ranks(self.controls.workers or 1) as collective:
                    yield collective
            except OSError as error:
                if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                    raise
                raise disk_full(Path(error.filename or self.folder.path), error) from None
            finally:
                self.store.close()

    def _begin(self) -> None:
        """Take up the newest checkpoint, or start anew."""
        self.folder.write_record(self.config.model_dump(mode="json", exclude_none=True))
        if saved := self.saving.take_up():
            self.done, self.totals = saved.round, Totals(**saved.counts)
        workers = self.controls.workers or 1
        self.folder.write_json(ENVIRONMENT, describe(self.controls.device, workers, self.engine.name))

    def _equalise(self) -> None:
        """Begin where rank 0 begins, also where no memory is shared."""
        torch.set_num_threads(1)
        if self.controls.team is not None:
            self.controls.team.equalise(self.state.server, self.store)
            self.done, totals = self.controls.team.tell([self.done, vars(self.totals)])
            self.totals = Totals(**totals)

    def _is_evaluated(self, line: Line) -> bool:
        """Whether the models of this round are scored: now and then, at the end, and where training is lost."""
        return self.stream.evaluates(line["round"]) or line["round"] == self.rounds or "diverged" in line

    def _evaluate(self, line: Line, collective: Collective) -> dict[str, Sums]:
        """Score the models and put the figures into the round's line; ends the rounds where `stop_at` is reached."""
        start, round_ = time.perf_counter(), line["round"]
        sums = self.judge.evaluate(round_, collective)
        line["eval"] = self.judge.summaries(sums)
        if round_ < self.rounds and self._reached(line):
            self.rounds = round_
            sums = self.judge.evaluate(round_, collective)  # once more, to keep the personal models
        if self.private:
            line["privacy"] = self.private.spent(round_)
        self.totals.eval_seconds += time.perf_counter() - start
        return sums

    def _record(self, line: Line) -> int:
        """Write the round's line, tell who watches, and save where it is due: what all ranks do next."""
        round_, lost = line["round"], "diverged" in line
        line["time"] = self.totals.time()
        self.saving.write(line)
        spent = self.private.in_passing(round_) if self.private and "privacy" not in line else None
        self.controls.watch({**line, "privacy": spent} if spent else line)
        last, command = round_ == self.rounds or lost, GO
        if not last and self.controls.should_stop():
            command = STOP
        elif not last and self.saving.due:
            command = SAVE
        elif round_ == self.rounds and not lost and self.config.train.delivery_rounds:
            command = SAVE  # so that a kill during delivery costs no round
        if command != GO:
            self.saving.save(round_, self.totals)
        return command

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
        accuracy = line["eval"].get("validation", {}).get("global", {}).get(ACCURACY.name)
        return wanted is not None and accuracy is not None and accuracy >= wanted

    def _account(self, cohort: Cohort, collective: Collective) -> Line:
        """What a round cost and showed: its metrics, the same on every rank."""
        round_ = cohort.round
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
            self.saving.touched.append(cohort.everyone.cpu().numpy())
        memory = None if lost else self.stream.end_of_period(round_, self, collective)
        if memory:
            totals.bytes_down += memory["bytes_down"]
            totals.bytes_up += memory["bytes_up"]
            if collective.rank == 0:
                self.saving.touched.append(self.pool)
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
