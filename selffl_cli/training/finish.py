"""The end of a run: final figures, models, and result.json, whose presence means finished."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ..config.run import WARM_START
from ..engine.evaluation import Sums
from ..runs.folder import ENVIRONMENT
from .controls import Line
from .judge import finite
from .outputs import write_clients, write_models, write_scores

if TYPE_CHECKING:
    from .loop import Training

GLOBAL = -1  # who diverged, when it is no client


def finish(training: Training, line: Line, sums: dict[str, Sums]) -> dict[str, Any]:
    """Write the final figures and models; result.json last, since its presence means finished."""
    lost = line.get("diverged")
    theta, kept = training.method.global_(training.state), training.kept if lost is None else None
    write_clients(training.folder.path, training.shards, sums, training.judge, training.task.metric, training.store)
    write_models(
        training.folder.path,
        training.model.named(theta) if theta is not None and training.keeps_global else {},
        kept if training.keeps_personal else None,
        training.model.layout,
    )
    # a warm start is the tables' baseline, in every part
    detected = training.parts if training.config.label == WARM_START else training.scored
    write_scores(training.folder.path, training.shards, training.model, detected, theta, kept)
    result: dict[str, Any] = {
        "status": "finished" if lost is None else "diverged",
        "round": line["round"],
        "final": line.get("eval", {}),
        **vars(training.totals),
    }
    if lost is not None:
        result["client"] = lost
        who = "parameters of the global model" if lost == GLOBAL else f"loss or parameters of client {lost}"
        result["message"] = f"{who} were not finite in round {line['round']}"
    if training.private:
        result["privacy"] = training.private.result(line["round"], theta)
    if len(training.newcomers) and lost is None:
        result["final"]["new"] = training.judge.newcomers()
    if training.truth is not None and theta is not None:  # how well the centre itself was estimated
        true = training.shards.shared["theta_0"].to(theta)
        result["theta_0_squared_error"] = finite(float(((theta - true) ** 2).mean()))
    finished = {"finished": datetime.now(UTC).isoformat(timespec="seconds")}
    training.folder.write_json(ENVIRONMENT, {**training.folder.environment, **finished})
    result = training.folder.write_result(result)
    training.checkpoints.clear()
    return result
