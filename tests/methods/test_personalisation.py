"""Personal models: made from training data alone, each method in its own way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from problems import CHOSEN, class_shards, mlp, training

from selffl_cli.engine.flat import DevicePart
from selffl_cli.methods import METHODS
from selffl_cli.training.loop import Training

TRAINED = [name for name in METHODS if name != "oracle"]
ADAPTING = {"fedavg-ft", "perfedavg"}  # personal models are made when asked for, for any client


def poison(training: Training, *parts: str) -> None:
    """Other inputs (not a number) and other labels in these parts."""
    for name in parts:
        part: DevicePart = training.parts[name]
        part.x, part.y = torch.full_like(part.x, torch.nan), (part.y + 1) % 3


def kept(run: Training) -> tuple[np.ndarray, np.ndarray]:
    """Personal models at the end of the run, and the global one (zeros for a method that has none)."""
    result = run.run()
    assert result["status"] == "finished" and run.kept is not None
    theta = run.method.global_(run.state)
    return run.kept.numpy(), np.zeros(1) if theta is None else theta.numpy()


@pytest.mark.parametrize("name", TRAINED)
def test_validation_and_test_data_change_no_model(name: str, tmp_path: Path) -> None:
    shards = class_shards(tmp_path / "shards")
    settings = {"participation": 0.5, "rounds": 4, "local_epochs": 2, "batch_size": 5}
    options = {"perfedavg": {"adaptation_steps": 3}}.get(name)
    clean = training(tmp_path / "clean", shards, name, options, **settings)
    spoilt = training(tmp_path / "spoilt", shards, name, options, **settings)
    poison(spoilt, "validation", "test")
    for one, other in zip(kept(clean), kept(spoilt), strict=True):
        assert np.isfinite(one).all() and np.array_equal(one, other)


@pytest.mark.parametrize("name", TRAINED)
def test_personal_models_of_clients_never_sampled(name: str) -> None:
    """The current global model; for a method that adapts on the spot, that model adapted."""
    problem = mlp(batch_size=4)
    method, state = problem.train(name, len(CHOSEN), CHOSEN)
    personal, theta = problem.personal(method, state, 4), method.global_(state)
    expected = problem.model.start if theta is None else theta
    assert np.array_equal(personal[4], expected.numpy()) == (name not in ADAPTING)
    others = [m for m in range(6) if m != 4]
    assert all(not np.array_equal(personal[m], expected.numpy()) for m in others)


@pytest.mark.parametrize("name", TRAINED)
def test_asking_for_personal_models_changes_nothing(name: str) -> None:
    problem = mlp(batch_size=4)
    method, state = problem.train(name, 3)
    server = {key: value.clone() for key, value in state.server.items()}
    rows = [records.tobytes() for records in state.clients.pack(np.arange(6))]
    first = problem.personal(method, state, 3)
    assert np.array_equal(problem.personal(method, state, 3), first)
    assert all(torch.equal(value, state.server[key]) for key, value in server.items())
    assert [records.tobytes() for records in state.clients.pack(np.arange(6))] == rows
    state, _ = problem.round(method, state, 4)  # and not by what a later round writes
    assert not np.array_equal(problem.personal(method, state, 4), first)


@pytest.mark.parametrize("name", sorted(ADAPTING))
def test_adaptation_reads_the_clients_own_training_data_in_a_stream_of_its_own(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem = mlp(batch_size=4)
    method, state = problem.train(name, 2)
    before = problem.personal(method, state, 2)
    cohort = problem.cohort(state, round_=2)
    seen: list[tuple[str, int, int]] = []
    draw = cohort.batches.indices
    monkeypatch.setattr(cohort.batches, "indices", lambda *key: (seen.append(key), draw(*key))[1])
    with torch.no_grad():
        method.personal(state, cohort)
    stream = {"fedavg-ft": "fine-tune", "perfedavg": "perfedavg-adapt"}[name]
    steps = problem.budget if name == "fedavg-ft" else [1] * 6
    assert set(seen) == {(stream, client, step) for client, n in enumerate(steps) for step in range(n)}
    # other training data of client 2: only its own model follows
    begin, end = problem.data.offsets[2], problem.data.offsets[3]
    problem.data.x[begin:end] += 1.0
    after = problem.personal(method, state, 2)
    assert [np.array_equal(before[m], after[m]) for m in range(6)] == [True, True, False, True, True, True]


@pytest.mark.parametrize(("name", "option"), [("fedavg-ft", "steps"), ("perfedavg", "adaptation_steps")])
def test_number_of_adaptation_steps_is_an_option(name: str, option: str) -> None:
    problem, counts = mlp(batch_size=4), []
    for wanted in (1, 3, "budget"):
        method, state = problem.train(name, 1, **{option: wanted})
        cohort = problem.cohort(state)
        with torch.no_grad():
            method.personal(state, cohort)
        counts.append(cohort.counts.gradients)
    assert counts == [6, 18, sum(problem.budget)]


def test_heads_and_mixtures_are_each_clients_own() -> None:
    problem = mlp()
    method, state = problem.train("fedrep", 3)
    theta, personal = method.global_(state), problem.personal(method, state)
    assert theta is not None
    assert all(np.array_equal(row[:25], theta[:25].numpy()) for row in personal)
    assert len(np.unique(personal[:, 25:], axis=0)) == 6
    # a client that comes late starts with the first head, not with the mean of the others'
    ended = problem.train("fedrep", 2, [[0, 1], [2]], head_steps=1, body_steps=1)[1]
    method, state = problem.train("fedrep", 1, [[0, 1]], head_steps=1, body_steps=1)
    body = state.server["theta"][:25]
    start = torch.cat([body, problem.model.start[25:]])
    grad = problem.cohort(state, [2]).grad(start[None])[0]
    own = ended.clients.read("theta", torch.tensor([2]))[0, 25:]
    torch.testing.assert_close(own, start[25:] - problem.learning_rate * grad[25:], rtol=0, atol=1e-12)
