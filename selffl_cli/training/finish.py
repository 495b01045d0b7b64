"""The end of a run: final figures, models, and result.json, whose presence means finished."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from torch import Tensor

from ..config.run import WARM_START
from ..engine.evaluation import Sums
from ..runs.folder import ENVIRONMENT, EVIDENCE
from .controls import Line
from .delivery import Delivered, judge_newcomers
from .federation import Federation
from .judge import Judge, finite
from .outputs import write_clients, write_models, write_scores

GLOBAL = -1  # who diverged, when it is no client


def finish(
    federation: Federation,
    judge: Judge,
    totals: dict[str, Any],
    line: Line,
    sums: dict[str, Sums],
    delivered: Delivered | None = None,
) -> dict[str, Any]:
    """Write the final figures and models; result.json last, since its presence means finished."""
    lost = line.get("diverged")
    theta, kept = federation.method.global_(federation.state), federation.kept if lost is None else None
    columns = {}
    if delivered is not None:
        sums, columns = {**sums, "delivered": delivered.sums}, {"delivery_gradients": delivered.gradients}
        line = {**line, "eval": judge.summaries(sums)}
        if delivered.findings:
            columns["evidence_gradients"] = delivered.evidence
            federation.folder.write_json(EVIDENCE, delivered.findings)
    write_clients(
        federation.folder.path, federation.shards, sums, judge, federation.task.metric, federation.store, columns
    )
    write_models(
        federation.folder.path,
        federation.model.named(theta) if theta is not None and federation.keeps_global else {},
        kept if federation.keeps_personal else None,
        federation.model.layout,
        federation.delivered if delivered is not None else None,
    )
    # a warm start is the tables' baseline, in every part
    detected = federation.parts if federation.config.label == WARM_START else federation.scored
    write_scores(
        federation.folder.path, federation.shards, federation.model, detected, federation.roles.sample, theta, kept
    )
    result = _result(federation, judge, totals, line, theta, delivered)
    finished = {"finished": datetime.now(UTC).isoformat(timespec="seconds")}
    federation.folder.write_json(ENVIRONMENT, {**federation.folder.environment, **finished})
    result = federation.folder.write_result(result)
    federation.checkpoints.clear()
    return result


def _result(
    federation: Federation,
    judge: Judge,
    totals: dict[str, Any],
    line: Line,
    theta: Tensor | None,
    delivered: Delivered | None,
) -> dict[str, Any]:
    """What result.json says; `theta` is the global model [P]."""
    lost = line.get("diverged")
    result: dict[str, Any] = {
        "status": "finished" if lost is None else "diverged",
        "round": line["round"],
        "final": line.get("eval", {}),
        **totals,
        **for_readers(federation),
    }
    if delivered is not None:
        result["delivery"] = spent(federation, delivered)
    if lost is not None:
        result["client"] = lost
        who = "parameters of the global model" if lost == GLOBAL else f"loss or parameters of client {lost}"
        result["message"] = f"{who} were not finite in round {line['round']}"
    if federation.private:
        result["privacy"] = federation.private.result(line["round"], theta)
    if len(federation.roles.newcomers) and lost is None:
        result["final"]["new"] = judge_newcomers(federation, judge)
    if federation.truth is not None and theta is not None:  # how well the centre itself was estimated
        true = federation.shards.shared["theta_0"].to(theta)
        result["theta_0_squared_error"] = finite(float(((theta - true) ** 2).mean()))
    return result


def spent(federation: Federation, delivered: Delivered) -> dict[str, int]:
    """What result.json says of a delivery: its cost, and the models that were not finite."""
    said = {
        "rounds": federation.config.train.delivery_rounds if federation.method.carries else 1,
        "gradients": int(delivered.gradients.sum()),
        "clients": int((delivered.gradients > 0).sum()),
        "not_finite": delivered.lost,
    }
    return said | ({"evidence_gradients": int(delivered.evidence.sum())} if delivered.findings else {})


def for_readers(federation: Federation) -> dict[str, Any]:
    """What the method and the metrics beside the task's own say of themselves, so that a report asks no code."""
    said: dict[str, Any] = {"traits": federation.method.traits()}
    if federation.model.metrics:
        said["metrics"] = [metric.facts() for metric in federation.model.metrics]
    return said
