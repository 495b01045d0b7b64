"""The metrics that tasks are judged by, which every run records, and what is said of them over clients."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from .metric import Metric

if TYPE_CHECKING:
    from torch import Tensor

SPREAD = ("client_mean", "worst_tenth", "p10", "std")  # of the main one, over clients
ENDS = ("light", "heavy", "heavy_gap", "worst_group", "group_gap")  # of a run's final models
LEVELS = ("client_mean", "worst_tenth", "p10", "light", "heavy", "worst_group")  # better where the metric is better


class Accuracy(Metric):
    """The share of samples, or of words, that are right."""

    name, percent, least, most = "accuracy", True, 0.0, 1.0
    sum_column = "correct"


class SquaredError(Metric):
    """The mean squared error of a vector's coordinates."""

    name, higher_is_better, least = "squared_error", False, 0.0


class AbsoluteError(Metric):
    """The mean absolute error of a number to predict, in standard deviations of the training samples."""

    name, higher_is_better, least = "absolute_error", False, 0.0

    def scores(self, outputs: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return (outputs[..., 0] - y).abs()


class Explained(Metric):
    """R², the share of a number's variance over training samples that is explained; 0 for the training mean."""

    name, words, most = "r2", "R²", 1.0

    def scores(self, outputs: Tensor, x: Tensor, y: Tensor) -> Tensor:
        return (outputs[..., 0] - y) ** 2

    def figure(self, mean: np.ndarray) -> np.ndarray:
        return 1 - mean


class Perplexity(Metric):
    """exp of the mean negative log-likelihood of a word."""

    name, higher_is_better, least, form = "perplexity", False, 1.0, ".1f"
    sum_column, count_column = "nll", "words"

    def figure(self, mean: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            return np.exp(mean)


ACCURACY, SQUARED_ERROR, PERPLEXITY = Accuracy(), SquaredError(), Perplexity()
MAIN: tuple[Metric, ...] = (SQUARED_ERROR, PERPLEXITY, ACCURACY)


def main_metric(recorded: Collection[str]) -> Metric:
    """The main one among the figures that a run recorded; accuracy where there is none."""
    return next((metric for metric in MAIN if metric.name in recorded), ACCURACY)


def is_judged(recorded: Collection[str]) -> bool:
    """Whether any main metric is among the figures that a run recorded."""
    return any(metric.name in recorded for metric in MAIN)
