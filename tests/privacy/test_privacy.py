"""Privacy: epsilon against known values, sensitivity, noise, budgets that stop a run, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import class_shards, mlp, training

from selffl_cli.config.experiment import TrainConfig
from selffl_cli.config.privacy import Sample, User, canonical, read_privacy
from selffl_cli.errors import UsageError
from selffl_cli.methods import METHODS
from selffl_cli.planning.checks import private_options
from selffl_cli.privacy.accountant import epsilon, find_noise, last_round
from selffl_cli.privacy.budget import Budget
from selffl_cli.privacy.sample import PrivateGradient
from selffl_cli.privacy.user import PrivateAverage, canary, canary_cosines, split_noise
from selffl_cli.training.loop import Controls, Stopped

pytest.importorskip("dp_accounting")
POISSON = {"sampler": "poisson:q=0.5"}


# the accountant


@pytest.mark.parametrize(
    ("noise", "q", "rounds", "accountant", "expected"),
    [
        (0.7, 0.01, 1000, "rdp", 5.42), (1.0, 0.01, 1000, "rdp", 2.10), (1.0, 0.1, 100, "rdp", 7.90),
        (0.7, 0.01, 1000, "pld", 4.62), (1.0, 0.1, 100, "pld", 7.05),
    ],
)  # fmt: skip
def test_known_epsilons(noise: float, q: float, rounds: int, accountant: str, expected: float) -> None:
    assert epsilon(((noise, q, rounds),), 1e-5, accountant) == pytest.approx(expected, abs=0.006)


def test_no_rounds_cost_nothing_and_no_noise_costs_everything() -> None:
    assert epsilon(((1.0, 0.1, 0),), 1e-5) == 0
    assert epsilon(((0.0, 0.1, 1),), 1e-5) == np.inf


def test_the_noise_for_a_target_and_the_last_round_within_it() -> None:
    """On a made-up law epsilon = 3 / noise² and epsilon = rounds / 10."""
    found = find_noise(lambda noise: 3 / noise**2, 2.0)
    assert 1.5**0.5 <= found <= 1.5**0.5 * 1.002
    assert [last_round(lambda t: t / 10, target, 50) for target in (0.05, 0.1, 2.34, 99)] == [0, 1, 23, 50]


def test_the_budget_meets_its_target() -> None:
    train = TrainConfig(rounds=30, sampler="poisson:q=0.2", privacy="user:clip=1,target-epsilon=6")
    budget = Budget(train, "fedavg", 0, np.full(50, 10), None)
    spent = budget.spent(30)["epsilon"]
    assert 5.9 < spent <= 6 and budget.rounds == 30
    short = Budget(train.model_copy(update={"privacy": f"user:noise={budget.noise / 2},target-epsilon=6"}),
                   "fedavg", 0, np.full(50, 10), None)  # fmt: skip
    assert 1 <= short.rounds < 30
    assert short.spent(short.rounds)["epsilon"] <= 6 < short.spent(short.rounds + 1)["epsilon"]


# users


def aggregate(
    ends: np.ndarray, options: str, q: float = 0.5, clients: int = 8, noise: float = 0.0, round_: int = 1
) -> tuple[np.ndarray, PrivateAverage]:
    """PrivateAverage of these models around theta = 0."""
    problem = mlp(clients=6)
    _, state = problem.method("fedavg")
    cohort = problem.cohort(state, list(range(len(ends))), round_)
    read = read_privacy(options)
    assert isinstance(read, User)
    average = PrivateAverage(read, noise, q, clients, 3, read.clip)
    cohort.aggregation = average
    rows = torch.from_numpy(np.asarray(ends, dtype=np.float64).reshape(-1, 2))[cohort.clients.cpu()]
    return cohort.average(torch.zeros(2, dtype=torch.float64), rows, "equal").numpy(), average


def test_clipped_sum_over_a_fixed_denominator() -> None:
    found, _ = aggregate(np.array([[3.0, 4.0], [0.3, 0.4]]), "user:clip=1,noise=0")
    np.testing.assert_allclose(found, [(0.6 + 0.3) / 4, (0.8 + 0.4) / 4])  # q M = 4, whoever comes


@settings(max_examples=25)
@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-9, 9)), min_size=1, max_size=6), st.floats(0.1, 5))
def test_one_client_moves_the_result_by_at_most_clip(rows: list[tuple[float, float]], clip: float) -> None:
    spec = f"user:clip={clip},noise=0"
    whole, _ = aggregate(np.array(rows), spec)
    without, _ = aggregate(np.array(rows[:-1]).reshape(-1, 2), spec)
    assert np.linalg.norm(whole - without) * 4 <= clip * (1 + 1e-9)


def test_noise_has_its_size_and_depends_on_the_round_alone() -> None:
    draws = np.array([aggregate(np.empty((0, 2)), "user:clip=2,noise=1.5", noise=1.5, round_=t)[0] for t in range(150)])
    assert draws.std() * 4 == pytest.approx(1.5 * 2, rel=0.15) and abs(draws.mean()) < 4 * 0.75 / 300**0.5
    again = aggregate(np.empty((0, 2)), "user:clip=2,noise=1.5", noise=1.5, round_=7)[0]
    np.testing.assert_array_equal(again, draws[7])


def test_adaptive_clipping_finds_the_quantile_and_pays_for_it() -> None:
    norms = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    clip = 0.1
    for round_ in range(80):
        spec = f"user:clip={clip},noise=0,adaptive=0.5"
        clip = aggregate(np.stack([norms, 0 * norms], 1), spec, q=1.0, clients=6, round_=round_)[1].next_clip
    assert 3.2 < clip < 8.5
    options = User(noise=1.0, adaptive=0.5)
    updates, count = split_noise(options, 1.0, 100)
    assert count == 5 and updates**-2 + (2 * count) ** -2 == pytest.approx(1.0) and updates > 1
    with pytest.raises(UsageError, match="more than 10 expected clients"):
        split_noise(options, 1.0, 8)


def run(folder: Path, shards: Any, method: str = "fedavg", controls: Controls | None = None, **train: Any) -> Any:
    name = train.pop("name", "r")
    options = private_options(method, {}, TrainConfig(**train))
    return training(folder / name, shards, method, options, rounds=6, batch_size=5, controls=controls, **train)


@pytest.mark.parametrize("method", [name for name, cls in METHODS.items() if cls.averages])
def test_every_method_that_averages_is_private(method: str, tmp_path: Path) -> None:
    shards = class_shards(tmp_path / "s")
    done = run(tmp_path, shards, method, sampler="poisson:q=0.15", privacy="user:clip=0.5,noise=1")
    result = done.run()
    assert result["status"] == "finished" and result["privacy"]["epsilon"] > 0
    lines = done.folder.metrics()
    assert [line["privacy"]["epsilon"] for line in lines] == sorted(line["privacy"]["epsilon"] for line in lines)
    empty = [i for i, line in enumerate(lines) if i and not line["clients"]]
    assert empty and lines[empty[0]]["eval"] != lines[empty[0] - 1]["eval"], "noise comes without clients too"


@pytest.mark.parametrize("privacy", ["user:clip=0.5,noise=0.01,adaptive=0.5", "sample:micro-batch=2,noise=1"])
def test_resumed_and_shared_runs_are_the_same_to_the_bit(privacy: str, tmp_path: Path) -> None:
    shards = class_shards(tmp_path / "s")
    whole = run(tmp_path, shards, privacy=privacy, **POISSON)
    whole.run()
    asked = iter([False, False, True])
    with pytest.raises(Stopped):
        run(
            tmp_path, shards, controls=Controls(should_stop=lambda: next(asked)), privacy=privacy, name="b", **POISSON
        ).run()
    resumed = run(tmp_path, shards, privacy=privacy, name="b", **POISSON)
    resumed.run()
    shared = run(tmp_path, shards, controls=Controls(workers=2), privacy=privacy, name="c", **POISSON)
    shared.run()
    models = [(one.folder.path / "models.safetensors").read_bytes() for one in (whole, resumed, shared)]
    assert models[0] == models[1] == models[2]
    plain = run(tmp_path, shards, name="d", **POISSON)
    plain.run()
    assert (plain.folder.path / "models.safetensors").read_bytes() != models[0]


def test_a_run_stops_before_the_round_that_exceeds_its_target(tmp_path: Path) -> None:
    shards = class_shards(tmp_path / "s")
    done = run(tmp_path, shards, privacy="user:noise=2,target-epsilon=2.5", **POISSON)
    result = done.run()
    assert 1 <= result["round"] < 6 and result["privacy"]["epsilon"] <= 2.5
    assert f"before round {result['round'] + 1}" in result["privacy"]["stopped"]
    assert done.private is not None and done.private.budget.spent(result["round"] + 1)["epsilon"] > 2.5
    with pytest.raises(UsageError, match="first round already exceeds"):
        run(tmp_path, shards, privacy="user:noise=0.5,target-epsilon=0.1", name="x", **POISSON)


def test_canaries_leave_their_direction(tmp_path: Path) -> None:
    size = 400
    directions = np.array([canary(1, i, size) for i in range(20)])
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1)
    assert abs(directions @ directions.T - np.eye(20)).max() < 5 / size**0.5
    change = torch.from_numpy(directions[:10].sum(0))
    cosines = np.array(canary_cosines(1, 20, change))
    assert cosines[:10].min() > 0.2 > 0.19 > abs(cosines[10:]).max()
    shards = class_shards(tmp_path / "s")
    said = run(tmp_path, shards, privacy="user:clip=0.5,noise=0.001,canaries=30", **POISSON).run()["privacy"]
    assert len(said["canaries"]) == 30 and np.mean(said["canaries"]) > 3 / (30 * said["dimension"]) ** 0.5


# samples


def gradient(options: str, noise: float = 0.0, batch: int | None = None, rows: int = 12) -> tuple[PrivateGradient, Any]:
    read = read_privacy(options)
    assert isinstance(read, Sample)
    problem = mlp(clients=3)
    return PrivateGradient(read, noise, 0, 1, batch), problem


def test_without_noise_and_clipping_it_is_the_gradient() -> None:
    private, problem = gradient("sample:micro-batch=1000,clip=1e6,noise=0")
    with torch.no_grad():
        found, loss, drawn = private(problem.model, problem.data, problem.model.start.clone(), 1, "local", 0)
        expected, mean = problem.model.gradient(problem.model.start.clone(), *problem.data.client(1))
    assert drawn == len(problem.y[1])
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(loss, mean)


@pytest.mark.parametrize("layers", ["false", "true"])
def test_a_sample_moves_a_clipped_micro_batch_by_at_most_two_clips(layers: str) -> None:
    private, problem = gradient(f"sample:micro-batch=4,clip=0.01,noise=0,layerwise={layers}")
    worst = 0.0
    with torch.no_grad():
        for seed in range(20):
            rows = np.random.default_rng(seed).permutation(len(problem.y[0]))[:4]
            pair = [problem.model.gradient(problem.model.start.clone(), *problem.data.client(0, r))[0]
                    for r in (rows, rows[:-1])]  # fmt: skip
            one, other = (private.clipped(problem.model, g) for g in pair)
            assert one.norm() <= 0.01 * (1 + 1e-9)
            worst = max(worst, float((one - other).norm()))
    assert 0.003 < worst <= 0.02


def test_every_look_has_noise_of_its_own_and_of_the_right_size() -> None:
    private, problem = gradient("sample:micro-batch=4,clip=0.5,noise=1", noise=2.0, batch=8)
    theta = problem.model.start.clone()
    with torch.no_grad():
        plain = PrivateGradient(private.options, 0.0, 0, 1, 8)(problem.model, problem.data, theta, 0, "local", 0)[0]
        first, second = (private(problem.model, problem.data, theta, 0, "local", 0)[0] for _ in range(2))
        again = PrivateGradient(private.options, 2.0, 0, 1, 8)(problem.model, problem.data, theta, 0, "local", 0)[0]
    assert torch.equal(first, again) and not torch.equal(first, second)
    noise = torch.cat([first - plain, second - plain])
    assert float(noise.std()) == pytest.approx(2.0 * 0.5 / 2, rel=0.25)  # two micro-batches share the sum


def test_the_honest_epsilon_is_that_of_half_the_noise_and_of_the_worst_client() -> None:
    train = TrainConfig(rounds=3, batch_size=10, local_epochs=1, privacy="sample:noise=2,micro-batch=5")
    budget = Budget(train, "fedavg", 0, np.array([20, 40]), None)
    spent = budget.spent(3)
    both = [max(epsilon(((noise, 0.5, 6),), 1e-5), epsilon(((noise, 0.25, 12),), 1e-5)) for noise in (1.0, 2.0)]
    assert (spent["epsilon"], spent["nominal_epsilon"]) == pytest.approx(both)
    assert Budget(train, "ditto", 0, np.array([20, 40]), None).spent(3)["epsilon"] > spent["epsilon"]
    decayed = train.model_copy(update={"privacy": canonical("sample:noise=2,micro-batch=5,decay=0.5")})
    slow = Budget(decayed, "fedavg", 0, np.array([20]), None).spent(3)["epsilon"]
    assert slow == pytest.approx(epsilon(((1.0, 0.5, 2), (0.5, 0.5, 2), (0.25, 0.5, 2)), 1e-5))


# what is refused


@pytest.mark.parametrize(
    ("method", "train", "words"),
    [
        ("fedavg", {"privacy": "user:noise=0,target-epsilon=3", **POISSON}, "noise 0 has no epsilon"),
        ("fedavg", {"privacy": "user:clip=1", **POISSON}, "give noise=… .* or target-epsilon"),
        ("fedavg", {"privacy": "user:noise=1"}, "add --set train.sampler=poisson:q=0.1"),
        ("fedavg", {"privacy": "user:noise=1", "sampler": "activity:gamma=1"}, "Poisson sampling alone"),
        ("fedavg-w", {"privacy": "user:noise=1", **POISSON}, "each client counts the same"),
        ("fedavg", {"privacy": "user:noise=1", "weighting": "unbiased", **POISSON}, "each client counts the same"),
        ("actperfl", {"privacy": "user:noise=1", **POISSON}, "sends more than an average"),
        ("oracle", {"privacy": "user:noise=1", **POISSON}, "sends more than an average"),
        ("local", {"privacy": "user:noise=1", **POISSON}, "nothing leaves a client"),
        ("actperfl", {"privacy": "sample:noise=1"}, "not known beforehand"),
        ("fedavg", {"privacy": "usr:noise=1"}, "did you mean 'user'"),
        ("fedavg", {"privacy": "user:nose=1,noise=1"}, "unknown key 'nose'"),
    ],
)
def test_what_cannot_be_accounted_for_is_refused(method: str, train: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        private_options(method, {}, TrainConfig(**train))
