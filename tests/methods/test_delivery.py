"""Delivered models: a client's own rule once more from the finished state, on both engines, touching nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from problems import CHOSEN, Problem, gaussian_shards, mlp, training
from test_stacked import VARIANTS, Recorded, StackedProblem
from torch import Tensor

from selffl_cli.engine.cohort import Cohort, Delivery, LastIterates, State
from selffl_cli.engine.stacked.capture import CapturedRunner
from selffl_cli.methods import METHODS
from selffl_cli.methods.base import Method

KEEP = ["local", "fedavg", "fedprox", "ditto", "apfl", "pfedme", "actperfl", "actperfl-hb"]


@torch.no_grad()
def delivered(
    problem: Any, method: Method, state: State, round_: int, average: bool = False,
    clients: list[int] | None = None, rounds: int = 1,
) -> tuple[Tensor, Cohort]:  # fmt: skip
    """Models delivered after `round_` rounds in order of the client [C, P], and the last cohort."""
    rows: dict[str, Tensor] = {}
    for number in range(1, rounds + 1):
        cohort = problem.cohort(state, clients, round_ + number)
        cohort.delivery = Delivery(average and number == rounds, rows)
        models = method.deliver(state, cohort)
    return models[torch.argsort(cohort.clients)], cohort


def trained(problem: Problem, name: str, options: dict[str, Any]) -> tuple[Method, State]:
    """After four rounds of incomplete cohorts, in which client 4 never takes part."""
    return problem.train(name, len(CHOSEN), CHOSEN, **options)


@pytest.mark.parametrize("name", KEEP)
@pytest.mark.parametrize("options", [{}, {"pool": "all"}, {"adaptive": True}, {"start": "last"}], ids=str)
@pytest.mark.parametrize("stacked", [False, True], ids=["sequential", "stacked"])
def test_with_everybody_it_is_one_round_more(name: str, options: dict[str, Any], stacked: bool) -> None:
    """To the bit, with the last iterate: three rounds and delivery are the kept models of four rounds."""
    fits = {"pool": "actperfl", "adaptive": "apfl", "start": "pfedme"}
    if any(fits[key] != name for key in options):
        pytest.skip("an option of another method")
    problem = mlp(batch_size=4)
    source = StackedProblem(problem, 6) if stacked else problem
    method, state = problem.method(name, **options)
    with torch.no_grad():
        for round_ in range(1, 4):
            state = method.round(state, source.cohort(state, None, round_))
        early, _ = delivered(source, method, state, 3)
        state = method.round(state, source.cohort(state, None, 4))
        kept = state.clients.read("theta", torch.arange(6))
    assert torch.equal(early, kept)


@pytest.mark.parametrize("name", ["local", "ditto", "apfl"])
def test_the_last_iterate_is_carried_between_delivery_rounds(name: str) -> None:
    """Where theta does not matter: with theta's part switched off, two delivery rounds are two rounds more."""
    options = {"ditto": {"lam": 0.0}, "apfl": {"a": 1.0}}.get(name, {})
    problem = mlp(batch_size=4)
    method, state = problem.train(name, 2, **options)
    early, cohort = delivered(problem, method, state, 2, rounds=2)
    _, later = problem.train(name, 4, **options)
    assert torch.equal(early, later.clients.read("theta", torch.arange(6)))
    assert method.carries and cohort.delivery.rows
    averaged, _ = delivered(problem, method, state, 2, rounds=2, average=True)
    assert not torch.equal(averaged, early)  # of the last round alone, which began at the same models


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
def test_nobody_else_matters_and_nothing_is_written(
    name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client delivered alone has the bits it has among all; no sum, no row and no server tensor changes."""
    problem = mlp(batch_size=4)
    method, state = trained(problem, name, options)
    server = {key: value.clone() for key, value in state.server.items()}
    rows = [records.tobytes() for records in state.clients.pack(np.arange(6))]
    for forbidden in ("sum", "gather"):
        monkeypatch.setattr(Cohort, forbidden, lambda *_: pytest.fail("delivery talks to nobody"))
    monkeypatch.setattr(type(state.clients), "write", lambda *_: pytest.fail("delivery writes no row"))
    everybody, cohort = delivered(problem, method, state, 4, average=True)
    for client in range(6):
        alone, own = delivered(problem, method, state, 4, average=True, clients=[client])
        assert torch.equal(alone[0], everybody[client])
        assert own.counts.each.tolist() == [own.counts.gradients]
    assert cohort.counts.each.sum() == cohort.counts.gradients > 0
    assert all(torch.equal(server[key], value) or value.isnan().all() for key, value in state.server.items())
    assert [records.tobytes() for records in state.clients.pack(np.arange(6))] == rows


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
@pytest.mark.parametrize("captured", [False, True], ids=["plain", "captured"])
@pytest.mark.parametrize("average", [False, True], ids=["last", "average"])
def test_both_engines_deliver_the_same(name: str, options: dict[str, Any], captured: bool, average: bool) -> None:
    problem = mlp(batch_size=8, budget=[2, 5, 1, 4, 7, 3])
    method, state = trained(problem, name, options)
    one, plain = delivered(problem, method, state, 4, average)
    other = StackedProblem(problem, 32, CapturedRunner(Recorded())) if captured else StackedProblem(problem)
    two, stacked = delivered(other, method, state, 4, average)
    torch.testing.assert_close(two, one, rtol=1e-9, atol=1e-9)
    each = [counts.each[torch.argsort(cohort.clients)].tolist() for cohort in (plain, stacked)
            for counts in [cohort.counts]]  # fmt: skip
    assert each[0] == each[1]


@pytest.mark.parametrize("stacked", [False, True], ids=["sequential", "stacked"])
@pytest.mark.parametrize("half", [True, False])
def test_the_average_is_of_the_last_half_of_the_iterates(stacked: bool, half: bool) -> None:
    """Rounded up, the start not among them; a client without a step has its start."""
    problem = mlp(batch_size=None)
    _, state = problem.method("local")
    cohort = (StackedProblem(problem) if stacked else problem).cohort(state)
    steps = torch.tensor([0, 1, 2, 3, 4, 7])[cohort.clients]
    start = torch.randn(6, problem.model.size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        local = cohort.local(cohort.sgd, start, steps, average=LastIterates(half=half))
        for i, client in enumerate(cohort.clients.tolist()):
            w, iterates = start[i], []
            for _ in range(int(steps[i])):
                w = w - cohort.learning_rate * problem.model.gradient(w, *problem.data.client(client))[0]
                iterates.append(w)
            late = iterates[len(iterates) // 2 :] if half else iterates
            expected = torch.stack(late).mean(0) if late else start[i]
            torch.testing.assert_close(local.average[i], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("stacked", [False, True], ids=["sequential", "stacked"])
def test_two_walks_in_a_row_are_one(stacked: bool) -> None:
    """From step 3 on the batches are those of steps 3, 4, …: three steps and four more are seven steps, to the bit."""
    problem = mlp(batch_size=4)
    _, state = problem.method("local")
    source = StackedProblem(problem, 6) if stacked else problem
    with torch.no_grad():
        cohort = source.cohort(state)
        start = cohort.spread(problem.model.start)
        whole = cohort.local(cohort.sgd, start, torch.full((6,), 7)).end
        part = cohort.local(cohort.sgd, start, torch.full((6,), 3)).end
        cohort.first_step = 3
        assert torch.equal(cohort.local(cohort.sgd, part, torch.full((6,), 4)).end, whole)


def test_fedrep_trains_thetas_head_for_a_client_without_one() -> None:
    problem = mlp(batch_size=None)
    method, state = trained(problem, "fedrep", {})
    rows, cohort = delivered(problem, method, state, 4)
    w, theta = state.server["theta"], state.server["theta"]
    for _ in range(problem.budget[4]):
        w = torch.where(cohort.head, w - 0.1 * problem.model.gradient(w, *problem.data.client(4))[0], theta)
    torch.testing.assert_close(rows[4], w, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("form", ["posterior", "eqn2"])
def test_the_oracle_delivers_its_closed_form(form: str, tmp_path: Any) -> None:
    run = training(tmp_path / "run", gaussian_shards(tmp_path / "shards"), "oracle", {"form": form}, rounds=1)
    run.run()
    assert run.kept is not None
    source = type("Source", (), {"cohort": lambda _, state, clients, round_: run.cohort(
        np.arange(8) if clients is None else np.array(clients), round_, _alone(), state.clients)})()  # fmt: skip
    rows, _ = delivered(source, run.method, run.state, 1)
    torch.testing.assert_close(rows, run.kept, rtol=1e-12, atol=1e-12)


def _alone() -> Any:
    from selffl_cli.engine.parallel.collective import Collective

    return Collective()


def test_every_method_says_how_it_delivers() -> None:
    """The default, `personal`, would deliver the kept models."""
    assert [name for name in METHODS if "deliver" not in vars(METHODS[name]) and name not in ("actperfl-hb",)] == []
