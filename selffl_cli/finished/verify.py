"""Recompute a finished run's final figures from its saved models and its data, and compare them to the bit."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..engine.evaluation import Sums, evaluate_global, summary, units
from ..engine.parallel.collective import Collective
from ..machine.environment import describe
from ..training.federation import of_newcomers
from ..training.judge import finite
from .run import FinishedRun

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


def verify(scored: FinishedRun) -> Verdict:
    """Judge the run again. SelfflError where a file of it, or its data, is not what it was."""
    result, verdict = scored.folder.result or {}, Verdict()
    for name in result.get("files", {}):
        scored.folder.check(name)
    final = dict(result["final"])
    new = final.pop("new", None)
    recorded, sums = recorded_sums(scored, final), scored.sums(scored.judged)
    for kind in recorded:
        if kind not in sums:
            verdict.left_out.append(f"{kind} models were not kept: only that clients.parquet gives the same figures")
    for kind, parts in sums.items():
        for part, values in parts.items():
            if part not in recorded.get(kind, {}):  # nobody has samples in it
                continue
            for row, what in enumerate(("score", "loss", *map(str, scored.metrics))):
                same = np.array_equal(values[row], recorded[kind][part][row], equal_nan=True)
                verdict.compare(f"{part} {kind} {what} of every client", True, same)
    for part, kinds in final.items():
        for kind, figures in kinds.items():
            own = (sums.get(kind) or recorded[kind])[part]
            _compare_figures(verdict, f"{part} {kind}", figures, scored.figures(own, scored.judged[part]))
    if new is not None:
        _new_clients(scored, new, verdict)
    last = scored.folder.metrics()[-1]  # models are delivered after it
    final = {part: {kind: kinds[kind] for kind in kinds if kind != "delivered"} for part, kinds in final.items()}
    verdict.compare("the last line of metrics.jsonl", last.get("eval", {}), final)
    return verdict


def _compare_figures(verdict: Verdict, where: str, recorded: dict[str, Any], found: dict[str, Any]) -> None:
    for name, value in recorded.items():
        again = found.get(name)
        verdict.compare(f"{where} {name}", value, None if again is None else finite(again))


def _new_clients(scored: FinishedRun, recorded: dict[str, Any], verdict: Verdict) -> None:
    """The global model on the clients that were held out; their own models are trained at the end and not kept."""
    verdict.left_out.append("new clients' own models: they are trained at the end and not kept")
    theta, task = scored.global_(), scored.model.task
    if theta is None or "global" not in recorded:
        return
    part, places = of_newcomers(scored.roles, scored.part("test"))
    sums = evaluate_global(scored.model, theta, {"test": part}, Collective())["test"]
    found = summary(sums[:, places], units(task, part, scored.metrics)[:, places], task, scored.metrics)
    _compare_figures(verdict, "new clients global", recorded["global"], found)


def recorded_sums(scored: FinishedRun, final: dict[str, Any]) -> dict[str, Sums]:
    """What the run found for the clients that it scored at its end: {"global"|"personal": {part: [2 + K, E]}}."""
    table, metric = scored.folder.clients, scored.model.task.metric
    summed = (metric.sum_column, "loss", *(further.sum_column for further in scored.metrics))
    recorded: dict[str, Sums] = {}
    for part, kinds in final.items():
        for kind in kinds:
            columns = [table[f"{part}_{kind}_{what}"] for what in summed]
            values = np.array([column.to_numpy().astype(np.float64) for column in columns])
            recorded.setdefault(kind, {})[part] = values[:, scored.roles.scored]
    return recorded


def other_machine(environment: dict[str, Any]) -> str:
    """In what the machine that made a run differs from this one, where that may change the last bits; "" in nothing."""
    here = describe("cpu", 1, "sequential")
    return ", ".join(
        f"{key} {environment[key]} then, {here[key]} here"
        for key in MADE_BY
        if key in environment and environment[key] != here[key]
    )
