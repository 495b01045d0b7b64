"""Recompute a finished run's final figures from its saved models and its data, and compare them to the bit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..engine.evaluation import Sums, evaluate_global, evaluate_rows, summary, units
from ..engine.parallel.collective import Collective
from ..machine.environment import describe
from ..sampling.draw import new_clients
from ..training.judge import finite
from .run import Scored

MADE_BY = ("torch", "numpy", "cpu", "device", "engine")  # what of the environment may change the last bits


@dataclass
class Verdict:
    """What was recomputed, what of it is another number now, and what could not be."""

    equal: int = 0
    different: list[str] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def compare(self, name: str, recorded: Any, found: Any) -> None:
        """Numbers are equal when every bit is."""
        if recorded == found:
            self.equal += 1
        else:
            self.different.append(f"{name}: recorded {recorded}, recomputed {found}")


def verify(scored: Scored) -> Verdict:
    """Judge the run again. SelfflError where a file of it, or its data, is not what it was."""
    result, verdict = scored.folder.result or {}, Verdict()
    for name in result.get("files", {}):
        scored.folder.check(name)
    final = dict(result["final"])
    if "new" in final:
        final.pop("new")
        verdict.left_out.append("new clients: their models are trained at the end and not kept")
    judged = Judged(scored, final)
    sums = judged.sums()
    for kind in judged.recorded:
        if kind not in sums:
            verdict.left_out.append(f"{kind} models were not kept: only that clients.parquet gives the same figures")
    for kind, parts in sums.items():
        for part, values in parts.items():
            for row, what in enumerate(("score", "loss")):
                same = np.array_equal(values[row], judged.recorded[kind][part][row], equal_nan=True)
                verdict.compare(f"{part} {kind} {what} of every client", True, same)
    for part, kinds in final.items():
        for kind, figures in kinds.items():
            again = judged.summary(part, (sums.get(kind) or judged.recorded[kind])[part])
            for name, value in figures.items():
                verdict.compare(f"{part} {kind} {name}", value, again.get(name))
    last = scored.folder.metrics()[-1]
    verdict.compare("the last line of metrics.jsonl", last.get("eval"), final)
    return verdict


class Judged:
    """The clients whose models a run scored at its end, with what it found: {"global"|"personal": {part: [2, E]}}."""

    def __init__(self, scored: Scored, final: dict[str, Any]) -> None:
        table, train, metric = scored.folder.clients, scored.config.train, scored.model.task.metric
        score = {"accuracy": "correct", "perplexity": "nll"}.get(metric, metric)
        self.scored, everyone = scored, np.arange(scored.shards.num_clients)
        self.recorded: dict[str, Sums] = {}
        self.clients, self.known = (
            everyone,
            np.setdiff1d(everyone, new_clients(scored.config.seed, train.new_clients, len(everyone))),
        )
        for part, kinds in final.items():
            for kind in kinds:
                columns = [table[f"{part}_{kind}_{what}"] for what in (score, "loss")]
                if columns[0].null_count:  # a sample of the clients was judged, the others are null
                    self.clients = np.flatnonzero(columns[0].is_valid().to_numpy())
                    self.known = np.arange(len(self.clients))
                values = np.array([column.to_numpy().astype(np.float64) for column in columns])
                self.recorded.setdefault(kind, {})[part] = values[:, self.clients]
        parts = {name: scored.part(name) for name in final}
        # the samples of these clients alone, in the batches of the run, on which the last bits depend
        self.parts = parts if len(self.clients) == len(everyone) else {k: v.of(self.clients) for k, v in parts.items()}

    def sums(self) -> dict[str, Sums]:
        """Computed from the saved models; of a kind that was not kept there is nothing."""
        out: dict[str, Sums] = {}
        model, theta, rows = self.scored.model, self.scored.global_(), self.scored.personal()
        if theta is not None and "global" in self.recorded:
            out["global"] = evaluate_global(model, theta, self.parts, Collective())
        if rows is not None and "personal" in self.recorded:
            own: Sums = {name: np.zeros((2, len(self.clients))) for name in self.parts}
            evaluate_rows(model, rows[self.clients], np.arange(len(self.clients)), self.parts, own)
            out["personal"] = own
        return out

    def summary(self, part: str, sums: np.ndarray) -> dict[str, float | None]:
        """Figures over the clients that were not held out."""
        task = self.scored.model.task
        figures = summary(sums[:, self.known], units(task, self.parts[part])[self.known], task)
        return {name: finite(value) for name, value in figures.items()}


def other_machine(environment: dict[str, Any]) -> str:
    """In what the machine that made a run differs from this one, where that may change the last bits; "" in nothing."""
    here = describe("cpu", 1, "sequential")
    return ", ".join(
        f"{key} {environment[key]} then, {here[key]} here"
        for key in MADE_BY
        if key in environment and environment[key] != here[key]
    )
