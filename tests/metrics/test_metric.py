"""Metrics: what is said of them in one place, and one of one's own from a file outside the package."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selffl_cli.errors import UsageError
from selffl_cli.metrics import METRICS
from selffl_cli.metrics.judged_by import ACCURACY, MAIN, PERPLEXITY, SQUARED_ERROR, main_metric
from selffl_cli.metrics.metric import FACTS, Metric, Recorded


class Recall(Metric):
    name, percent = "recall", True

    def scores(self, outputs, x, y):
        return (outputs.argmax(-1) == 1) * (y == 1)

    def units(self, x, y):
        return (y == 1).long()


def test_what_is_not_said_has_a_default() -> None:
    made = Recall()
    assert (made.words, made.form, made.head, made.unit) == ("recall", ".1%", "recall (%)", "points")
    assert (made.sum_column, made.count_column) == ("recall", "recall_of")
    outputs, y = torch.tensor([[0.0, 1], [0, 1], [1, 0]]), torch.tensor([1, 0, 1])
    scores, units = made.scores(outputs, y, y), made.units(y, y)
    assert made.of(np.array(float(scores.sum())), np.array(float(units.sum()))) == 0.5


def test_a_record_says_all_that_a_report_asks_for() -> None:
    for metric in (*MAIN, Recall()):
        again = Recorded(metric.facts())
        assert {name: getattr(again, name) for name in FACTS} == {name: getattr(metric, name) for name in FACTS}
        assert (again.head, again.scale, str(again)) == (metric.head, metric.scale, metric.name)


@pytest.mark.parametrize(
    ("metric", "name", "column", "count", "higher", "shown"),
    [
        (ACCURACY, "accuracy", "correct", "", True, "93.1%"),
        (SQUARED_ERROR, "squared_error", "squared_error", "", False, "0.931"),
        (PERPLEXITY, "perplexity", "nll", "words", False, "0.9"),
    ],
)
def test_the_main_metrics_keep_the_names_that_files_have(
    metric: Metric, name: str, column: str, count: str, higher: bool, shown: str
) -> None:
    assert (metric.name, metric.sum_column, metric.count_column) == (name, column, count)
    assert metric.higher_is_better is higher and metric.show(0.931) == shown
    assert main_metric({name, "loss"}) is metric and type(metric) is METRICS[name]


def test_figures_that_cannot_be() -> None:
    assert ACCURACY.may_be(1) and not ACCURACY.may_be(1.001) and not ACCURACY.may_be(-0.001)
    assert not PERPLEXITY.may_be(0.5) and PERPLEXITY.may_be(1e9) and Recall().may_be(7)


def test_a_metric_of_another_base_is_refused() -> None:
    with pytest.raises(UsageError, match="does not derive from selffl.Metric"):
        METRICS.add("x", dict)  # type: ignore[type-var]
