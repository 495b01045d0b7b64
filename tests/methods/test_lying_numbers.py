"""Numbers that lie: every method has a defined, finite result on data that is empty, alike, alone or not a number.

The table of what happens is in docs/reliability.md.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from problems import Problem, TwoParameters, class_shards, gaussian_shards, mlp, training

from data_prep.dealing.pool import Pool, PrepareOptions
from data_prep.prepare import Request
from selffl_cli.cli.main import main
from selffl_cli.errors import SelfflError
from selffl_cli.methods import METHODS
from selffl_cli.methods.hierarchy import federated_optimum, global_optimum, posterior_mean, precision
from selffl_cli.models.task import Classification
from selffl_cli.runs.folder import find_runs
from selffl_cli.shards import ShardData, Shards, write_shards
from selffl_cli.training.delivery import judge_newcomers
from selffl_cli.training.loop import Training

TRAINED = [name for name in METHODS if name != "oracle"]
# every open choice of ours that divides by something, beside the defaults of all
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in TRAINED),
    *(("actperfl", {"intra": intra}) for intra in ("across-rounds", "all-rounds", "fisher")),
    *(("actperfl", {"steps": steps}) for steps in ("literal", "curvature", "fixed")),
    *(("actperfl", {"init": init}) for init in ("literal", "global")),
    ("actperfl", {"pool": "all", "inter": "corrected", "normaliser": "entry"}),
    ("actperfl", {"rate": "matched", "aggregate": "samples"}),
    ("actperfl-hb", {"steps": "curvature", "intra": "fisher"}),
    ("apfl", {"adaptive": True}), ("perfedavg", {"variant": "HF"}), ("pfedme", {"start": "last"}),
]  # fmt: skip
IDS = [" ".join([name, *map(str, options.values())]) for name, options in VARIANTS]
every_method = pytest.mark.parametrize(("name", "options"), VARIANTS, ids=IDS)


def two(x: list[Any], y: list[Any], **options: Any) -> Problem:
    """Logistic regression in two parameters on these clients' samples."""
    rows = [np.asarray(values, dtype=np.float64).reshape(-1, 2) for values in x]
    budget = [2] * len(x)
    return Problem(TwoParameters(0.3, -0.2), rows, [np.asarray(v, dtype=np.int64) for v in y], budget, **options)


ONE = [[1.0, 0.5]]
FEW = [[1.0, 0.5], [-1.0, 0.2], [0.3, -0.7]]
STRANGE: dict[str, Problem | Any] = {
    "an empty client": lambda: two([FEW, [], FEW], [[1, 0, 1], [], [0, 0, 1]]),
    "empty clients alone": lambda: two([[], []], [[], []]),
    "one sample each": lambda: two([ONE, ONE, ONE], [[1], [0], [1]], batch_size=2),
    "one class each": lambda: two([FEW, FEW], [[0, 0, 0], [1, 1, 1]], batch_size=2),
    "constant features": lambda: two([np.ones((3, 2))] * 3, [[1, 0, 1]] * 3, batch_size=2),
    "features that are zero": lambda: two([np.zeros((3, 2))] * 3, [[1, 0, 1]] * 3),  # every gradient is zero
    "one client": lambda: two([FEW], [[1, 0, 1]]),
    "a rate of nearly nothing": lambda: mlp(clients=3, learning_rate=1e-300),  # every variance is zero
    "clients that are the same": lambda: two([FEW] * 3, [[1, 0, 1]] * 3),  # s0 is zero, s_m is not
}


def finite_everywhere(
    problem: Problem, name: str, options: dict[str, Any], chosen: list[list[int]] | None = None
) -> None:
    """Three rounds of everyone (or of those chosen); everything a run would record is finite."""
    method, state = problem.method(name, **options)
    for round_ in (1, 2, 3):
        state, cohort = problem.round(method, state, round_, None if chosen is None else chosen[round_ - 1])
        assert cohort.counts.diverged == -1
        theta, personal = method.global_(state), problem.personal(method, state, round_)
        assert np.isfinite(personal).all() and (theta is None or theta.isfinite().all())
        assert cohort.counts.loss.isfinite().all()


@every_method
@pytest.mark.parametrize("case", STRANGE)
def test_every_method_stays_finite(case: str, name: str, options: dict[str, Any]) -> None:
    finite_everywhere(STRANGE[case](), name, options)


@every_method
def test_a_cohort_of_one(name: str, options: dict[str, Any]) -> None:
    finite_everywhere(mlp(clients=3, batch_size=4), name, options, [[0], [1], [0]])


@pytest.mark.parametrize("name", TRAINED)
def test_an_empty_client_takes_no_step_and_moves_nobody_by_samples(name: str) -> None:
    """Its personal model is the one it was handed, and averages by samples are those of the others."""
    problem = two([FEW, [], FEW], [[1, 0, 1], [], [0, 0, 1]])
    method, state = problem.method(name)
    state, cohort = problem.round(method, state, 1)
    empty = int((cohort.clients == 1).nonzero())
    assert cohort.counts.steps[empty] == 0 and cohort.counts.loss[empty] == 0
    if name in ("fedavg", "fedprox", "ditto"):
        alone = two([FEW, FEW], [[1, 0, 1], [0, 0, 1]])
        other, begun = alone.method(name)
        ended, _ = alone.round(other, begun, 1)
        torch.testing.assert_close(method.global_(state), other.global_(ended), rtol=0, atol=1e-15)


def test_weights_that_are_all_zero_are_equal() -> None:
    problem = mlp(clients=4)
    _, state = problem.method("fedavg")
    cohort = problem.cohort(state)
    values = torch.arange(4.0, dtype=torch.float64)
    assert cohort.shares(torch.zeros(4, dtype=torch.float64)).tolist() == [0.25] * 4
    assert cohort.mean(values[:, None], torch.zeros(4, dtype=torch.float64)).item() == 1.5
    assert cohort.shares(torch.tensor([0.0, 3.0, 1.0, 0.0], dtype=torch.float64)).tolist() == [0, 0.75, 0.25, 0]


def test_variances_of_zero_in_closed_form() -> None:
    """s0 = s_m = 0: equal weights and everyone's own optimum; s_m = 0 alone: that client's own optimum."""
    local = torch.tensor([[1.0], [2.0], [6.0]], dtype=torch.float64)
    zero, none = torch.zeros(3, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    assert global_optimum(local, none, zero).item() == pytest.approx(3.0)
    for form in (federated_optimum, posterior_mean):
        torch.testing.assert_close(form(local, none + 1, zero), local)
    torch.testing.assert_close(posterior_mean(local, none, zero), local)
    assert precision(none, zero).isfinite().all()
    # s0 = 0 alone: one truth for all, so everyone is the weighted mean
    torch.testing.assert_close(posterior_mean(local, none, zero + 2), torch.full_like(local, 3.0))


# whole runs

ODD = {"empty": 0, "one sample": 1, "one class": 8, "constant": 8, "no test": 8, "plain": 8, "other": 5}


def odd_shards(folder: Path, only: list[str] | None = None, **values: float) -> Shards:
    """Clients of every odd kind: 4 inputs, 3 classes. `values` replaces a client's first feature."""
    names, rng = only or list(ODD), np.random.default_rng(3)
    x, y, client, part = [], [], [], []
    for index, name in enumerate(names):
        train, held = ODD[name], 0 if name == "no test" else 3
        labels = rng.integers(0, 3, train + held)
        rows = 2 * np.eye(4)[labels] + rng.normal(size=(train + held, 4))
        if name == "one class":
            labels[:] = 2
        if name == "constant":
            rows[:] = 1.0
        if name in values:
            rows[0, 0] = values[name]
        x.append(rows), y.append(labels)
        client += [index] * (train + held)
        part += [0] * train + [2] * held
    arrays = {"x": np.concatenate(x), "y": np.concatenate(y)}
    write_shards(folder, ShardData("odd", "natural", "classification", arrays, np.array(client), np.array(part), names,
                                   ["a", "b", "c"]))  # fmt: skip
    return Shards.open(folder)


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return odd_shards(tmp_path_factory.mktemp("odd") / "shards")


@pytest.mark.parametrize("name", TRAINED)
def test_a_run_over_odd_clients_finishes(name: str, odd: Shards, tmp_path: Path) -> None:
    run = training(tmp_path / "run", odd, name, rounds=3, batch_size=4, participation=0.7)
    result = run.run()
    assert result["status"] == "finished"
    text = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert "NaN" not in text and "Infinity" not in text
    for line in run.folder.metrics()[1:]:
        assert 0 not in line["per_client"]["client"], "a client without training samples is never sampled"
    table = run.folder.clients.to_pydict()
    assert table["participations"][0] == 0 and table["n_train"][0] == 0
    for kind, figures in result["final"]["test"].items():
        assert all(math.isfinite(value) for value in figures.values()), kind
        # the empty client is judged all the same, the one without test samples in no figure
        scored = [n for n in table["n_test"] if n]
        assert len(scored) == len(ODD) - 1
        assert figures["accuracy"] == pytest.approx(sum(table[f"test_{kind}_correct"]) / sum(scored))
    assert "validation" not in result["final"], "no client has a validation part"


def test_no_client_with_a_training_sample_is_said(tmp_path: Path) -> None:
    with pytest.raises(SelfflError, match="no client has a training sample"):
        training(tmp_path / "run", odd_shards(tmp_path / "shards", ["empty", "empty"]), "fedavg")


@pytest.mark.parametrize("name", METHODS)
def test_one_client_in_all(name: str, tmp_path: Path) -> None:
    if name == "oracle":
        shards = gaussian_shards(tmp_path / "shards", clients=1)
    else:
        shards = odd_shards(tmp_path / "shards", ["plain"])
    result = training(tmp_path / "run", shards, name, rounds=2, local_epochs=2).run()
    assert result["status"] == "finished" and result["round"] == 2
    assert all(math.isfinite(v) for kind in result["final"]["test"].values() for v in kind.values())


@pytest.mark.parametrize("name", METHODS)
def test_cohorts_of_one(name: str, tmp_path: Path) -> None:
    shards = (gaussian_shards if name == "oracle" else class_shards)(tmp_path / "shards")
    result = training(tmp_path / "run", shards, name, rounds=4, clients_per_round=1, participation=1.0).run()
    assert result["status"] == "finished"
    assert all(math.isfinite(v) for kind in result["final"]["test"].values() for v in kind.values())


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", TRAINED)
def test_a_number_that_is_none_ends_the_run_by_name(name: str, value: float, tmp_path: Path) -> None:
    shards = odd_shards(tmp_path / "shards", **{"one class": value})
    result = training(tmp_path / "run", shards, name, rounds=3).run()
    assert (result["status"], result["round"], result["client"]) == ("diverged", 1, 2)
    written = json.loads((tmp_path / "run" / "result.json").read_text())
    assert "client 2 were not finite in round 1" in written["message"]


def test_a_global_model_that_overflows_ends_the_run(tmp_path: Path) -> None:
    """Every client is finite and their combination is not: the last round is not called finished."""
    shards = class_shards(tmp_path / "shards")
    run = training(tmp_path / "run", shards, "pfedme", {"b": 1e300, "outer_rate": 1e-3}, rounds=1, dtype="float32")
    result = run.run()
    assert (result["status"], result["client"]) == ("diverged", -1) and "global model" in result["message"]


def test_a_model_that_gives_no_number_is_never_right() -> None:
    x, y = torch.zeros(3, 2), torch.tensor([0, 1, 1])
    outputs = torch.tensor([[torch.nan, torch.nan], [torch.nan, 1.0], [0.0, 1.0]])
    assert Classification.scores(outputs, x, y).tolist() == [0, 0, 1]
    single = torch.tensor([[torch.nan], [torch.inf], [-1.0]])
    assert Classification.scores(single, x, y).tolist() == [0, 1, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_prepare_refuses_numbers_that_are_none(value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from data_prep.sets.digits import Digits

    x = np.ones((30, 4), np.float32)
    x[17, 2] = value
    pool = Pool({"x": x, "y": np.arange(30) % 3}, list("abc"), "")
    monkeypatch.setattr(Digits, "load", lambda self, options, source, stage: pool)
    asked = Request("digits", PrepareOptions(clients=3, partition="iid"), None, tmp_path / "out")
    with pytest.raises(SelfflError, match=r"digits: sample 17 has a number in 'x' that is not finite"):
        asked.make()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_pictures")
def test_from_odd_data_to_a_report(odd: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command on odd clients with every method, new clients held out, then eval and the report."""
    tables = "\n".join(f"[methods.{name}]" for name in TRAINED)
    (tmp_path / "odd.toml").write_text(
        'name = "odd"\ndata = {name = "odd"}\nmodel = {name = "softmax"}\n'
        "train = {rounds = 2, participation = 0.5, eval_every = 1, new_clients = 0.3, delivery_rounds = 1}\n"
        f"{tables}\n"
    )
    monkeypatch.chdir(tmp_path)
    assert main(["train", "odd.toml", "--data", str(odd.path)]) == 0
    runs = find_runs(tmp_path / "runs", "odd")
    assert len(runs) == len(TRAINED) and all(run.result and run.result["status"] == "finished" for run in runs)
    assert main(["eval", *(str(run.path) for run in runs), "--part", "test"]) == 0
    assert main(["report", "odd.toml"]) == 0
    page = (tmp_path / "runs" / "odd" / "report" / "README.md").read_text()
    assert "nan" not in page.lower().split() and "inf" not in page.lower().split()


def test_an_empty_newcomer_is_judged_by_what_it_is_handed(tmp_path: Path) -> None:
    """New clients without a training sample: the method's round on them changes nothing and raises nothing."""
    shards = odd_shards(tmp_path / "shards", ["plain", "empty"])
    for name in TRAINED:
        run: Training = training(tmp_path / name, shards, name, rounds=1)
        run.run()
        run.judge.roles = replace(run.roles, new_sample=np.array([1]))
        figures = judge_newcomers(run, run.judge)["personal"]
        assert math.isfinite(figures["accuracy"]) and math.isfinite(figures["loss"])
