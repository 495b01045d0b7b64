"""Metrics: what is said of them in one place, and one of one's own from a file outside the package."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from selffl_cli.engine.evaluation import evaluate_rows, no_sums, summary, units
from selffl_cli.engine.flat import DevicePart, FlatModel
from selffl_cli.engine.stacked.evaluation import evaluate_stacked
from selffl_cli.engine.stacked.model import StackedModel
from selffl_cli.errors import UsageError
from selffl_cli.metrics import METRICS
from selffl_cli.metrics.judged_by import ACCURACY, MAIN, PERPLEXITY, SQUARED_ERROR, main_metric
from selffl_cli.metrics.metric import FACTS, Metric, Recorded
from selffl_cli.models.softmax import Softmax
from selffl_cli.models.task import TASKS


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


def test_all_ways_of_evaluation_sum_a_further_metric_alike() -> None:
    """One client after another and all at once: the scores of a metric with units of its own, after score and loss."""
    rng = np.random.default_rng(0)
    model = FlatModel(Softmax(4, 3), TASKS["classification"], torch.device("cpu"), torch.float64, metrics=[Recall()])
    sizes = np.array([700, 0, 3, 600, 1])
    x, y = torch.from_numpy(rng.normal(size=(sizes.sum(), 4))), torch.from_numpy(rng.integers(0, 3, sizes.sum()))
    part = DevicePart.of_tensors(x, y, sizes)
    rows, clients = torch.randn(2, model.size, dtype=torch.float64), np.array([3, 0])
    plain, stacked = no_sums(model, ["test"], 5), no_sums(model, ["test"], 5)
    evaluate_rows(model, rows, clients, {"test": part}, plain)
    evaluate_stacked(StackedModel(model), rows, clients, {"test": part}, stacked)
    np.testing.assert_array_equal(stacked["test"][[0, 2]], plain["test"][[0, 2]])
    np.testing.assert_allclose(stacked["test"], plain["test"], rtol=1e-12)
    for row, client in zip(rows, clients.tolist(), strict=True):
        own_x, own_y = part.client(client)
        found = model.outputs(row, own_x).argmax(-1)
        assert plain["test"][2, client] == int(((found == 1) & (own_y == 1)).sum())
    counts = units(model.task, part, model.metrics)
    assert counts[0].tolist() == sizes.tolist() and counts[1, 2] == int((part.client(2)[1] == 1).sum())
    figures = summary(plain["test"][:, clients], counts[:, clients], model.task, model.metrics)
    assert figures["recall"] == plain["test"][2].sum() / counts[1, clients].sum()
    assert "recall" not in summary(plain["test"], np.stack([counts[0], 0 * counts[1]]), model.task, model.metrics)
