"""`actperfl-eb` against a loop in numpy that deals its own folds and draws its own batches; engines, odd clients."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from problems import Problem, logistic, mlp
from test_stacked import StackedProblem

from selffl_cli.draws import generator
from selffl_cli.engine.cohort import Delivery, State
from selffl_cli.engine.hearing import Hearing
from selffl_cli.engine.parallel.collective import Collective, Dealt
from selffl_cli.errors import UsageError
from selffl_cli.methods import actperfl_eb, evidence_table
from selffl_cli.methods.evidence_table import gather
from selffl_cli.methods.folds import Folds, plan
from selffl_cli.planning.checks import check_delivery

FOLDS, SEED = 4, 0


def hearing_of(problem: Any, plain: Problem, state: State, chunk: int = 3, spent: float = 1e9) -> Hearing:
    """As delivery asks after round 1."""

    def cohort(clients: np.ndarray) -> Any:
        made = problem.cohort(state, clients.tolist(), 2)
        made.delivery = Delivery(average=True)
        return made

    def chunks(dealt: Dealt) -> Iterator[np.ndarray]:
        own = dealt.clients[dealt.local]
        yield from (own[i : i + chunk] for i in range(0, len(own), chunk))

    everyone = np.arange(len(plain.x))
    head = plain.model.head_mask()
    return Hearing(everyone, plain.data.sizes, SEED, head, spent, Collective(), cohort, chunks)


def dealt(client: int, size: int) -> list[np.ndarray]:
    """Every fourth sample of the client's own permutation."""
    count = min(FOLDS, size) if size > 1 else 0
    order = generator(SEED, "folds", client).permutation(size)
    return [order[fold::count] for fold in range(count)]


def logistic_loop(
    problem: Problem, client: int, out: tuple[int, ...], start: np.ndarray, rate: float, head: bool, ends: list[int]
) -> list[np.ndarray]:
    """Weights after each of `ends` steps from `start`, as they are delivered: logistic regression in numpy."""
    x, y = problem.x[client], problem.y[client]
    folds = dealt(client, len(y))
    left = np.array([i for i in range(len(y)) if not any(i in folds[f] for f in out if f < len(folds))])
    size = problem.batch_size or len(left)
    w, iterates = start.copy(), []
    per_epoch = -(-len(left) // size)
    for step in range(ends[-1]):
        epoch, position = divmod(step, per_epoch)
        rows = left
        if size < len(left):
            stream = "evidence-" + "-".join(map(str, out))
            order = generator(SEED, stream, 2, client, epoch).permutation(len(left))
            rows = left[order[position * size : (position + 1) * size]]
        residual = 1 / (1 + np.exp(-x[rows] @ w)) - y[rows]
        gradient = residual @ x[rows] / len(rows)
        w = w - rate * gradient * (np.array([0.0, 1.0]) if head else 1.0)
        iterates.append(w)
    return [start if end == 0 else np.mean(iterates[end // 2 : end], 0) for end in ends]


def loss(problem: Problem, client: int, rows: np.ndarray, w: np.ndarray) -> float:
    x, y = problem.x[client][rows], problem.y[client][rows]
    return float(np.logaddexp(0, -(2 * y - 1) * (x @ w)).sum())


def asked(problem: Problem, base: Any = "held-out", nested: bool = True, source: Any = None, **more: Any) -> Any:
    method, state = problem.method("actperfl-eb", evidence_base=base, **more)
    with torch.no_grad():
        state = method.round(state, problem.cohort(state))
        hearing = hearing_of(source or problem, problem, state)
        table = gather(state, hearing, plan(base, FOLDS, nested), method.options)  # type: ignore[attr-defined]
    return method, state, hearing, table


@pytest.mark.parametrize("base", ["held-out", "all"])
@pytest.mark.parametrize("batch_size", [None, 3])
def test_evidence_is_that_of_a_plain_loop(base: Any, batch_size: int | None) -> None:
    """Every family, amount and fold, of clients with 5 to 12 samples, and the pairs that cross-fitting needs."""
    problem = logistic(batch_size=batch_size)
    _, state, hearing, table = asked(problem, base, max_steps=16)
    theta, origin = (state.server[name].numpy() for name in ("theta", "origin"))
    assert [str(f) for f in table.families] == [
        "global", "global, rate / 8", "own", "own, rate / 8", "head", "head, rate / 8"]  # fmt: skip
    assert table.grid.tolist() == [0, 1, 2, 4, 8, 16] and len(table.plan.readings) == {"held-out": 2, "all": 16}[base]
    for m in range(4):
        folds = dealt(m, len(problem.y[m]))
        for i, reading in enumerate(table.plan.readings):
            out = table.plan.walks[reading.walk]
            rows = folds[reading.fold] if reading.half is None else folds[reading.fold][reading.half :: 2]
            assert table.rest[m, i] == len(problem.y[m]) - sum(len(folds[f]) for f in out)
            for f, family in enumerate(table.families):
                start = origin if family.start == "own" else theta
                models = logistic_loop(
                    problem, m, out, start, 0.1 * family.rate, family.start == "head", table.grid.tolist()
                )
                expected = [-loss(problem, m, rows, w) for w in models]
                np.testing.assert_allclose(table.likelihood[m, i, f], expected, rtol=0, atol=1e-10)
    walks = len(table.plan.walks) * len(table.families) * int(table.grid[-1])
    assert hearing.gradients.tolist() == [walks] * 4


def test_one_held_out_sample_in_training_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = logistic()
    _, _, _, right = asked(problem, max_steps=4)
    real = Folds.rest
    monkeypatch.setattr(
        Folds, "rest", lambda self, client, out: np.append(real(self, client, out), self.fold(client, 0)[:1])
    )
    _, _, _, leaking = asked(problem, max_steps=4)
    assert np.abs(leaking.likelihood - right.likelihood)[..., 1:].min() > 1e-9


def test_the_base_does_not_see_fold_0() -> None:
    """What the samples of fold 0 say changes no bit of theta; with evidence_base = "all" it does."""
    thetas: dict[str, list[torch.Tensor]] = {"held-out": [], "all": []}
    for base, found in thetas.items():
        for flip in (False, True):
            problem = logistic(batch_size=3)
            if flip:
                for m, y in enumerate(problem.y):
                    y[dealt(m, len(y))[0]] ^= 1
                problem.__post_init__()
            method, state = problem.method("actperfl-eb", evidence_base=base)
            with torch.no_grad():
                for round_ in (1, 2):
                    state = method.round(state, problem.cohort(state, None, round_))
            found.append(state.server["theta"])
    assert torch.equal(*thetas["held-out"]) and not torch.equal(*thetas["all"])


def test_the_delivered_model_is_the_amount_walked_on_all_samples() -> None:
    problem = logistic(batch_size=3)
    method, state, hearing, _ = asked(problem, max_steps=64)
    with torch.no_grad():
        state = method.hear(state, hearing)
        cohort = problem.cohort(state, None, 2)
        cohort.delivery = Delivery(average=True)
        rows = method.deliver(state, cohort)
    found = hearing.findings
    families = found["families"]
    assert found["form"] == "pooled" and found["with_evidence"] == 4 and found["not_finite"] == 0
    for i, m in enumerate(cohort.clients.tolist()):
        family, steps = families[found["amount_family"][m]], found["amount_steps"][m]
        start = state.server["origin" if family.startswith("own") else "theta"].numpy()
        rate = 0.1 / 8 if family.endswith("8") else 0.1
        w, iterates = start, []
        for step in range(steps):
            epoch, position = divmod(step, -(-len(problem.y[m]) // 3))
            order = generator(SEED, "evidence", 2, m, epoch).permutation(len(problem.y[m]))
            x, y = (values[m][order[position * 3 : position * 3 + 3]] for values in (problem.x, problem.y))
            gradient = (1 / (1 + np.exp(-x @ w)) - y) @ x / len(y)
            w = w - rate * gradient * (np.array([0.0, 1.0]) if family.startswith("head") else 1.0)
            iterates.append(w)
        expected = np.mean(iterates[steps // 2 :], 0) if steps else start
        np.testing.assert_allclose(rows[i].numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("batch_size", [4, None])
@pytest.mark.parametrize("choice", ["pooled", "posterior", "own", "evidence"])
def test_both_engines_find_and_deliver_the_same(batch_size: int | None, choice: str) -> None:
    problem = mlp(batch_size=batch_size)
    results = []
    for source in (problem, StackedProblem(problem)):
        method, state, hearing, table = asked(problem, source=source, max_steps=32, choice=choice)
        with torch.no_grad():
            state = method.hear(state, hearing)
            cohort = source.cohort(state, None, 2)
            cohort.delivery = Delivery(average=True)
            rows = method.deliver(state, cohort)[torch.argsort(cohort.clients)]
        results.append((table, rows, hearing))
    (one, plain, first), (two, stacked, second) = results
    np.testing.assert_allclose(two.likelihood, one.likelihood, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(stacked, plain, rtol=1e-9, atol=1e-9)
    for key in ("amount_family", "amount_steps", "form", "family", "grid"):
        assert first.findings[key] == second.findings[key]
    assert first.gradients.tolist() == second.gradients.tolist()


@pytest.mark.slow
def test_the_grid_is_doubled_while_the_best_amount_stands_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence_table, "FIRST_END", 4)
    problem = logistic()
    _, _, _, table = asked(problem, max_steps=512)
    sums = table.sums().sum(0)
    at = np.unravel_index(sums.argmax(), sums.shape)[1]
    assert at < len(table.grid) - 1 or table.grid[-1] == 512
    assert table.grid[-1] > 4
    _, state, hearing, _ = asked(problem)
    hearing = hearing_of(problem, problem, state, spent=0.4)  # 20 times the base's gradients: 8
    with torch.no_grad():
        short = gather(state, hearing, plan("held-out", FOLDS, True), actperfl_eb.Options())
    assert short.grid[-1] <= 8


def test_a_tenth_tries_every_family_and_those_behind_are_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    """120 clients: twelve try all six families; who is behind by two standard errors is walked by nobody else."""
    rng = np.random.default_rng(1)
    x = [rng.normal(size=(8, 2)) for _ in range(120)]
    y = [(rows @ np.array([2.0, 1.0]) > 0).astype(np.int64) for rows in x]
    from problems import TwoParameters

    problem = Problem(TwoParameters(0.3, -0.2), x, y, [8] * 120)
    asked_of: list[int] = []
    real = Hearing.ask
    monkeypatch.setattr(Hearing, "ask", lambda self, c, q, s: (asked_of.append(len(c)), real(self, c, q, s))[1])
    _, _, _, table = asked(problem, max_steps=8)
    assert asked_of == [120, 12, 120]  # words a sample, the trial, all
    assert 0 < len(table.dropped) < 6 and len(table.kept) == 6 - len(table.dropped)
    for behind, error in table.dropped.values():
        assert behind > 2 * error > 0


def test_a_family_that_diverges_takes_the_least_finite_entry() -> None:
    values = np.array([[[[1.0, -5.0, -np.inf]], [[np.nan, np.nan, np.nan]]], [[[0.0, 1.0, 2.0]], [[3.0, np.nan, 1.0]]]])
    found, count = evidence_table.finite(values)
    assert count == 5
    assert found.tolist() == [[[[1, -5, -5]], [[0, 0, 0]]], [[[0, 1, 2]], [[3, 1, 1]]]]


@pytest.mark.parametrize("base", ["held-out", "all"])
def test_odd_clients(base: str, tmp_path: Path) -> None:
    """One sample: no evidence, the pooled candidate. Two samples: two folds. One class. Nobody else is disturbed."""
    rng = np.random.default_rng(0)
    sizes = [1, 2, 12, 9, 3]
    x = [rng.normal(size=(size, 2)) for size in sizes]
    y = [np.zeros(size, np.int64) if m == 2 else (x[m][:, 0] > 0).astype(np.int64) for m, size in enumerate(sizes)]
    from problems import TwoParameters

    problem = Problem(TwoParameters(0.3, -0.2), x, y, [1, 1, 3, 3, 1], batch_size=4)
    for choice in ("pooled", "posterior", "own", "evidence"):
        method, state, hearing, table = asked(problem, base, choice == "evidence" or base == "held-out",
                                              max_steps=8, choice=choice)  # fmt: skip
        assert table.clients.tolist() == [1, 2, 3, 4]
        with torch.no_grad():
            state = method.hear(state, hearing)
        assert hearing.findings["told"] == [False, True, True, True, True]
        assert np.isfinite(table.likelihood).all()
        if choice == "pooled":
            assert len(set(hearing.findings["amount_family"])) == 1


def test_clients_of_one_sample_alone_stay_at_theta() -> None:
    problem = Problem(mlp().module, [np.ones((1, 4))] * 3, [np.zeros(1, np.int64)] * 3, [1, 1, 1])
    method, state, hearing, table = asked(problem)
    with torch.no_grad():
        state = method.hear(state, hearing)
        cohort = problem.cohort(state, None, 2)
        rows = method.deliver(state, cohort)
    assert len(table.clients) == 0 and hearing.findings["amount_steps"] == [0, 0, 0]
    assert all(torch.equal(row, state.server["theta"]) for row in rows)


def test_a_model_that_is_all_head_has_no_head_family() -> None:
    problem = logistic(head=("body", "top"))
    _, _, _, table = asked(problem, max_steps=2)
    assert [str(f) for f in table.families] == ["global", "global, rate / 8", "own", "own, rate / 8"]


def test_its_base_may_be_actperfl() -> None:
    problem = mlp()
    made, found = problem.method("actperfl-eb", base="actperfl")
    with torch.no_grad():
        found = made.round(found, problem.cohort(found))
    assert "s0" in found.server and "origin" in found.server


def test_bad_requests_are_said(tmp_path: Path) -> None:
    from selffl_cli.config.train import TrainConfig
    from selffl_cli.methods import resolve

    for options, word in (({"folds": 1}, "folds"), ({"choice": "mode"}, "choice"), ({"max_steps": 0}, "max_steps"),
                          ({"base": "actperfl", "weighting": "equal"}, "weighs by uncertainty")):  # fmt: skip
        with pytest.raises(UsageError, match=word):
            resolve("actperfl-eb", options)
    record = resolve("actperfl-eb", {})[0]
    with pytest.raises(UsageError, match="finds its personal models at delivery; set delivery_rounds = 1"):
        check_delivery(TrainConfig(), record, "x: [methods.actperfl-eb]")
    with pytest.raises(UsageError, match="train.periods"):
        check_delivery(TrainConfig(delivery_rounds=1, periods=True), record, "x: [methods.actperfl-eb]")
    check_delivery(TrainConfig(delivery_rounds=1), record, "x")
    check_delivery(TrainConfig(), resolve("fedavg", {})[0], "x")


@pytest.mark.parametrize(
    ("privacy", "sampler", "words"),
    [("user:clip=1,noise=1,delta=0.001", "poisson:q=0.5", "sends more than an average of models"),
     ("sample:clip=1,noise=1,delta=0.001", "poisson:q=0.5", "is not known beforehand")],
)  # fmt: skip
def test_privacy_that_cannot_account_for_evidence_is_refused(privacy: str, sampler: str, words: str) -> None:
    from selffl_cli.config.train import TrainConfig
    from selffl_cli.planning.checks import private_options

    with pytest.raises(UsageError, match=words):
        private_options("actperfl-eb", {}, TrainConfig(privacy=privacy, sampler=sampler))
