"""What every method promises: its cost, its batches, state that survives a stop, no crash."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from problems import CHOSEN, mlp

from selffl_cli.config.train import TrainConfig
from selffl_cli.engine.batches import Batches
from selffl_cli.errors import UsageError
from selffl_cli.methods import METHODS, method_class
from selffl_cli.planning.checks import private_options
from selffl_cli.runs.checkpoint import Checkpoints, Saved
from selffl_cli.runs.folder import METRICS

GRADIENTS = {  # of one round in budgets B; personalising is not part of it
    "fedavg": 1, "fedavg-ft": 1, "fedprox": 1, "local": 1, "ditto": 2, "apfl": 2, "perfedavg": 2, "pfedme": 5,
    "fedrep": 2, "actperfl": 1, "actperfl-hb": 1, "actperfl-eb": 1,
}  # fmt: skip
STREAMS = {
    "ditto": {"local"}, "apfl": {"local"}, "pfedme": {"local"}, "fedprox": {"local"}, "fedavg-ft": {"local"},
    "perfedavg": {"local", "perfedavg-inner"}, "fedrep": {"local", "fedrep-head"},
}  # fmt: skip
TRAINED = [name for name in METHODS if name != "oracle"]


@pytest.mark.parametrize("name", TRAINED)
def test_gradients_and_batches_of_a_round(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = mlp(batch_size=4)
    method, state = problem.method(name)
    cohort = problem.cohort(state)
    seen: list[tuple[str, int, int]] = []
    draw = Batches.indices
    monkeypatch.setattr(Batches, "indices", lambda own, *key: (seen.append(key), draw(own, *key))[1])
    with torch.no_grad():
        method.round(state, cohort)
    budget = sum(problem.budget)
    assert cohort.counts.gradients == len(seen) == GRADIENTS[name] * budget
    assert int(cohort.counts.steps.sum()) == budget
    # every method walks the main stream from its first batch to the budget's last
    assert {key for key in seen if key[0] == "local"} == {
        ("local", client, step) for client, steps in enumerate(problem.budget) for step in range(steps)
    }
    assert {key[0] for key in seen} == STREAMS.get(name, {"local"})


def test_hessian_free_takes_its_difference_on_one_batch_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = mlp(clients=1, batch_size=4)
    method, state = problem.method("perfedavg", variant="HF")
    cohort = problem.cohort(state)
    seen: list[str] = []
    draw = cohort.batches.indices
    monkeypatch.setattr(cohort.batches, "indices", lambda *key: (seen.append(key[0]), draw(*key))[1])
    with torch.no_grad():
        method.round(state, cohort)
    assert seen == ["perfedavg-inner", "local", "perfedavg-hessian", "perfedavg-hessian"] * problem.budget[0]


@pytest.mark.parametrize("name", TRAINED)
def test_state_survives_a_checkpoint(name: str, tmp_path: Path) -> None:
    options = {"apfl": {"adaptive": True}}.get(name, {})
    results = []
    for stop in (False, True):
        problem = mlp(batch_size=4)
        method, state = problem.method(name, **options)
        for round_, chosen in enumerate(CHOSEN * 2, start=1):
            state, _ = problem.round(method, state, round_, chosen)
            if stop and round_ == 3:
                saved, folder = Saved(3, 0, {}, sha256().hexdigest()), tmp_path / name / "checkpoint"
                folder.parent.mkdir()
                (folder.parent / METRICS).touch()
                Checkpoints(folder).save(state, np.arange(state.clients.num_clients), saved)
                method, state = problem.method(name, **options)
                assert Checkpoints(folder).load(state) == saved
        theta = method.global_(state)
        results.append((theta, problem.personal(method, state, 8)))
    (theta, personal), (resumed_theta, resumed) = results
    assert np.array_equal(personal, resumed)
    assert theta is None or torch.equal(theta, resumed_theta)


@pytest.mark.parametrize("name", TRAINED)
def test_divergence_is_counted_and_never_raised(name: str) -> None:
    problem = mlp(batch_size=4, learning_rate=1e200)
    options = {"pfedme": {"inner_rate": 1e200}, "perfedavg": {"alpha": 1e200}}.get(name, {})
    method, state = problem.method(name, **options)
    lost = -1
    for round_ in (1, 2, 3):
        state, cohort = problem.round(method, state, round_)
        lost = max(lost, cohort.counts.diverged)
        problem.personal(method, state, round_)
    assert lost >= 0


@pytest.mark.parametrize("name", METHODS)
def test_methods_say_what_they_are(name: str) -> None:
    cls = method_class(name)
    assert cls.idea and cls.paper and cls.per_client and "\n" not in cls.idea
    assert all(field.description for field in cls.options_type.model_fields.values())


def test_only_the_body_travels_in_fedrep() -> None:
    problem = mlp()
    sizes = problem.model.size, problem.model.head_size
    assert sizes == (43, 18)
    for name, sent in (("fedrep", (25, 25)), ("ditto", (43, 43)), ("pfedme", (43, 43)), ("local", (0, 0))):
        assert problem.method(name)[0].traffic(*sizes) == sent


@pytest.mark.parametrize("name", TRAINED)
def test_what_a_method_says_of_itself_is_what_it_does(name: str) -> None:
    """Its class is asked by privacy, claims and the report: gradients a step, a global model, whether it sends."""
    cls = method_class(name)
    problem = mlp()
    method, state = problem.method(name)
    start = problem.cohort(state)
    state = method.round(state, start)
    assert cls.has_global == (method.global_(state) is not None)
    assert cls.sends == (method.traffic(2, 1) != (0, 0))
    steps, gradients = int(start.dealt.sum(start.counts.steps)), int(start.counts.gradients)
    if cls.gradients_per_step is not None:
        assert gradients == cls.gradients_per_step * steps
    scored = problem.cohort(state)
    method.personal(state, scored)
    assert cls.trains_when_scored == (int(scored.counts.gradients) > 0)
    assert not cls.averages or "weighting" in cls.options_type.model_fields


def test_a_method_from_outside_is_private_when_its_class_says_so(tmp_path: Path) -> None:
    text = (
        "from selffl import Method\nfrom selffl_cli.methods.fedavg import FedAvg\n"
        "class Same(FedAvg):\n    remarks = {'silent': 'says nothing'}\n"
        "class Secret(FedAvg):\n    averages = False\n    gradients_per_step = None\n"
    )
    (tmp_path / "own.py").write_text(text)
    same, secret = (f"{tmp_path / 'own.py'}:{name}" for name in ("Same", "Secret"))
    users = TrainConfig(privacy="user:noise=1", sampler="poisson:q=0.5")
    samples = TrainConfig(privacy="sample:noise=1")
    assert private_options(same, {}, users) == {"weighting": "equal"} and private_options(same, {}, samples) == {}
    for train, words in ((users, "sends more than an average"), (samples, "not known beforehand")):
        with pytest.raises(UsageError, match=words):
            private_options(secret, {}, train)
    assert method_class(same).traits()["remarks"] == {"silent": "says nothing"}
