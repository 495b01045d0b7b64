"""How good models are, and what may be said of it. A metric is a class and a line here, or a file of one's own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ..errors import UsageError
from ..registry import Registry
from .judged_by import ENDS, MAIN, SPREAD
from .metric import Metric

NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
TAKEN = {"loss", "relative_fa", *SPREAD, *ENDS}  # figures that a run may have already

METRICS: Registry[Metric] = Registry(
    "metric",
    "selffl_cli.metrics.metric:Metric",
    {
        "accuracy": "selffl_cli.metrics.judged_by:Accuracy",
        "squared_error": "selffl_cli.metrics.judged_by:SquaredError",
        "absolute_error": "selffl_cli.metrics.judged_by:AbsoluteError",
        "r2": "selffl_cli.metrics.judged_by:Explained",
        "perplexity": "selffl_cli.metrics.judged_by:Perplexity",
    },
    group="selffl.metrics",
)


def read_metrics(names: Iterable[str], code: Mapping[str, str] | None = None) -> tuple[Metric, ...]:
    """The metrics of `[train] metrics`, which are recorded beside the task's own; UsageError for one that cannot be.

    code: {name: sha256} of a run's record, which the sources must still have.
    """
    made = tuple(METRICS.same(name, (code or {}).get(name))() for name in names)
    main = {metric.name for metric in MAIN}
    known = main | TAKEN
    for place, metric in zip(names, made, strict=True):
        if place in main:
            raise UsageError(f"train.metrics: {place} is recorded by the tasks that it belongs to; leave it out")
        if not NAME.fullmatch(metric.name) or metric.name in known:
            raise UsageError(
                f"train.metrics: {place}: name = '{metric.name}': a metric's name is small letters, digits and _, and "
                "no figure that a run has already"
            )
        if type(metric).scores is Metric.scores:
            raise UsageError(f"train.metrics: {place} has no scores; selffl.Metric says what it returns")
        known.add(metric.name)
    return made
