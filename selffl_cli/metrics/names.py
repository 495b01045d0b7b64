"""The main metrics that tasks are judged by, as people read them."""

from __future__ import annotations

from collections.abc import Collection

ACCURACY = "accuracy"
ERRORS = {"squared_error": "squared error", "perplexity": "perplexity"}  # lower is better
SPREAD = ("client_mean", "worst_tenth", "p10", "std")  # of the main one, over clients
ENDS = ("light", "heavy", "heavy_gap", "worst_group", "group_gap")  # of a run's final models


def main_metric(recorded: Collection[str]) -> str:
    """The main one among the figures that a run recorded."""
    return next((name for name in ERRORS if name in recorded), ACCURACY)


def words(metric: str) -> str:
    """A metric as the head of a column or axis."""
    return ERRORS.get(metric, "accuracy (%)")
