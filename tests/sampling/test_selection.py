"""Who takes part: frequencies, unbiased weighting, cohorts without anybody, and what is refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from problems import class_shards, mlp, training

from selffl_cli import methods
from selffl_cli.cli.main import main
from selffl_cli.config.experiment import TrainConfig
from selffl_cli.config.sampler import canonical, sampler
from selffl_cli.draws import sample_clients
from selffl_cli.errors import UsageError
from selffl_cli.methods import METHODS, weighed
from selffl_cli.sampling.draw import check, choose
from selffl_cli.sampling.unbiased import Unbiased

SPECS = ["uniform", "poisson:q=0.4", "activity:gamma=1,mix=0.1", "activity:gamma=0.5", "log", "top:fraction=0.5"]
SIZES = np.array([1, 2, 3, 5, 8, 40])


def close(counts: np.ndarray, chances: np.ndarray, draws: int) -> bool:
    """Within 4.5 standard deviations of a binomial, for every client."""
    return bool((abs(counts - draws * chances) <= 4.5 * np.sqrt(draws * chances * (1 - chances)) + 1e-9).all())


@given(st.sampled_from(SPECS), st.lists(st.integers(1, 500), min_size=1, max_size=30), st.integers(1, 30),
       st.booleans(), st.integers(1, 10**6))  # fmt: skip
def test_a_round_is_a_set_of_clients_and_depends_on_its_counters_alone(
    spec: str, sizes: list[int], size: int, replace: bool, round_: int
) -> None:
    size = min(size, len(sizes))
    one, other = (choose(sampler(spec), 7, round_, np.array(sizes), size, replace) for _ in range(2))
    assert np.array_equal(one.positions, other.positions) and np.array_equal(one.ratio, other.ratio)
    assert (np.diff(one.positions) > 0).all() and set(one.positions) <= set(range(len(sizes)))
    assert len(one.ratio) == len(one.positions) and (one.ratio > 0).all()
    if not replace and not spec.startswith("poisson"):
        top = int(np.ceil(0.5 * len(sizes))) if spec.startswith("top") else len(sizes)
        assert len(one.positions) == min(size, top)


@given(st.integers(0, 2**31 - 1), st.integers(1, 50), st.integers(1, 20))
def test_the_default_draws_what_it_always_drew(seed: int, clients: int, size: int) -> None:
    drawn = choose(sampler("uniform"), seed, 3, np.arange(1, clients + 1), size)
    assert np.array_equal(drawn.positions, sample_clients(seed, 3, clients, size)) and (drawn.ratio == 1).all()


def test_chances_by_hand() -> None:
    sizes = np.array([1, 3, 0, 4])
    np.testing.assert_allclose(sampler("activity:gamma=1").chances(sizes), [1 / 8, 3 / 8, 0, 4 / 8])
    np.testing.assert_allclose(sampler("activity:gamma=2").chances(sizes), [1 / 26, 9 / 26, 0, 16 / 26])
    mixed = 0.9 * np.array([1, 3, 0, 4]) / 8 + 0.1 * np.array([1, 1, 0, 1]) / 3
    np.testing.assert_allclose(sampler("activity:gamma=1,mix=0.1").chances(sizes), mixed)
    np.testing.assert_allclose(sampler("activity:gamma=0").chances(sizes), [1 / 3, 1 / 3, 0, 1 / 3])
    np.testing.assert_allclose(sampler("log").chances(sizes), np.log([2, 4, 1, 5]) / np.log(40))
    np.testing.assert_allclose(sampler("top:fraction=0.5").chances(sizes), [0, 0.5, 0, 0.5])
    huge = sampler("activity:gamma=900").chances(np.array([10, 20_000, 20_000]))
    np.testing.assert_allclose(huge, [0, 0.5, 0.5])  # no overflow


def inclusion(chances: np.ndarray, size: int) -> np.ndarray:
    """Exact chance that each client is among `size` draws without replacement, by going through all orders."""
    total = np.zeros(len(chances))
    for order in itertools.permutations(range(len(chances)), size):
        left, chance = 1.0, 1.0
        for client in order:
            chance *= chances[client] / left
            left -= chances[client]
        total[list(order)] += chance
    return total


@pytest.mark.parametrize("spec", ["activity:gamma=1,mix=0.2", "log", "top:fraction=0.8"])
def test_inclusion_frequencies_without_replacement(spec: str) -> None:
    rounds, size = 3000, 2
    drawn = [choose(sampler(spec), 1, t, SIZES, size).positions for t in range(rounds)]
    counts = np.bincount(np.concatenate(drawn), minlength=len(SIZES))
    expected = inclusion(sampler(spec).chances(SIZES), size)
    assert expected.sum() == pytest.approx(size)
    assert close(counts, expected, rounds)
    assert not close(counts, np.full(len(SIZES), size / len(SIZES)), rounds)


def test_poisson_draws_every_client_for_itself_and_sometimes_nobody() -> None:
    rounds, q = 4000, 0.15
    drawn = [choose(sampler(f"poisson:q={q}"), 2, t, SIZES, 99) for t in range(rounds)]
    taken = np.zeros((rounds, len(SIZES)))
    for row, one in zip(taken, drawn, strict=True):
        row[one.positions] = 1
    assert close(taken.sum(0), np.full(len(SIZES), q), rounds)
    assert close(np.array([(taken.sum(1) == 0).sum()]), np.array([(1 - q) ** len(SIZES)]), rounds)
    pairs = (taken[:, 0] * taken[:, 1]).sum()
    assert close(np.array([pairs]), np.array([q * q]), rounds)


@pytest.mark.parametrize("weighting", ["samples", "equal"])
@pytest.mark.parametrize("spec", ["uniform", "poisson:q=0.4", "activity:gamma=1,mix=0.1", "log"])
def test_unbiased_weighting_gives_the_mean_over_all_clients(spec: str, weighting: str) -> None:
    """Mean over simulated rounds of what the engine aggregates, against the full mean; and biased where it is not."""
    problem = mlp(clients=6)
    _, state = problem.method("fedavg")
    sizes = np.array([len(y) for y in problem.y]) ** 3
    problem.data.sizes = sizes
    rng = np.random.default_rng(0)
    models, theta = torch.from_numpy(rng.normal(size=(6, 3))), torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64)
    share = sizes / sizes.sum() if weighting == "samples" else np.full(6, 1 / 6)
    rounds, found, plain = 1500, [], []
    for round_ in range(rounds):
        chosen = choose(sampler(spec), 3, round_, sizes, 2, replace=True)
        ratio = torch.zeros(6, dtype=torch.float64)
        ratio[chosen.positions] = torch.from_numpy(chosen.ratio)
        cohort = problem.cohort(state, chosen.positions.tolist(), round_)
        if cohort.size:
            plain.append(cohort.average(theta, models[cohort.clients], weighting).numpy())
        cohort.aggregation = Unbiased(ratio, int(sizes.sum()), 6)
        found.append(cohort.average(theta, models[cohort.clients], weighting).numpy())
    error = np.std(found, axis=0) / np.sqrt(rounds)
    assert (abs(np.mean(found, axis=0) - share @ models.numpy()) < 4.5 * error).all()
    if spec.startswith("activity"):
        error = np.std(plain, axis=0) / np.sqrt(rounds)
        assert (abs(np.mean(plain, axis=0) - share @ models.numpy()) > 6 * error).any(), "the correction corrects"


@settings(max_examples=30)
@given(st.integers(1, 5), st.integers(0, 100))
def test_ratios_are_draws_over_expected_draws(size: int, round_: int) -> None:
    """K draws with replacement: sum_k p_k K r_k counts every draw once."""
    one = choose(sampler("activity:gamma=1"), 5, round_, SIZES, size, replace=True)
    assert (one.ratio * size * sampler("activity:gamma=1").chances(SIZES)[one.positions]).sum() == pytest.approx(size)


@pytest.mark.parametrize("method", [name for name in METHODS if name != "oracle"])
def test_every_method_lives_with_every_sampler_and_with_rounds_without_clients(method: str, tmp_path: Path) -> None:
    shards = class_shards(tmp_path / "shards", clients=5)
    for number, spec in enumerate(["poisson:q=0.15", "activity:gamma=1,mix=0.1", "top:fraction=0.6"]):
        weighting = "unbiased" if METHODS[method].averages and number < 2 else None
        run = training(tmp_path / str(number), shards, method, rounds=6, participation=0.5, sampler=spec,
                       weighting=weighting)  # fmt: skip
        assert run.run()["status"] == "finished"
        lines = run.folder.metrics()[1:]
        if number == 0:
            empty = [i for i, line in enumerate(lines) if not line["clients"]]
            assert empty, "some rounds draw nobody"
            for i in empty:
                assert lines[i]["train_loss"] is None and lines[i]["steps"] == 0
                if i:
                    assert lines[i]["eval"] == lines[i - 1]["eval"], "a round without clients changes nothing"


def test_records_of_runs_without_a_sampler_hash_as_before() -> None:
    default = TrainConfig()
    assert (default.sampler, default.weighting) == ("uniform", None)
    assert canonical("activity:mix=0.1") == "activity:gamma=1.0,mix=0.1"
    assert TrainConfig(sampler="activity").sampler == TrainConfig(sampler="activity:mix=0,gamma=1").sampler


def test_poisson_sets_the_expected_cohort() -> None:
    assert TrainConfig(sampler="poisson:q=0.2").cohort_size(50) == 10
    with pytest.raises(ValueError, match="leave clients_per_round out"):
        TrainConfig(sampler="poisson:q=0.2", clients_per_round=3)


def test_weighting_reaches_the_methods_that_average() -> None:
    assert weighed("fedavg", {}, "equal") == {"weighting": "equal"}
    assert weighed("apfl", {"a": 0.3}, "unbiased") == {"a": 0.3}
    assert weighed("actperfl", {}, None) == {}
    with pytest.raises(UsageError, match="leave train.weighting out"):
        weighed("actperfl", {}, "equal")
    with pytest.raises(UsageError, match="contradict"):
        methods.resolve("fedavg-e", weighed("fedavg-e", {}, "samples"))
    with pytest.raises(
        UsageError, match="has weighting = .equal., train.weighting says samples; leave one of them out"
    ):
        weighed("fedavg", {"weighting": "equal"}, "samples")


@pytest.mark.parametrize(
    ("spec", "unbiased", "words"),
    [
        ("activity:gamma=900", False, "only 1 of 6 clients can ever be drawn, a round takes 2"),
        ("activity:gamma=13", True, "of 6 clients are never drawn"),
        ("top:fraction=0.5", True, "3 of 6 clients are never drawn"),
        ("activity:gamma=-1", False, "greater than or equal to 0"),
        ("poisson:q=0", False, "greater than 0"),
        ("poisson", False, "q is missing"),
        ("actvity", False, "did you mean 'activity'"),
        ("log:gamma=1", False, "unknown key 'gamma'"),
    ],
)
def test_bad_samplers_are_one_line(spec: str, unbiased: bool, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        check(spec, SIZES, 2, unbiased)


def test_a_data_set_without_samples_selects_nobody() -> None:
    with pytest.raises(UsageError, match="selects nobody"):
        check("activity:gamma=1", np.zeros(4, np.int64), 2, False)


def test_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    class_shards(tmp_path / "blobs")
    (tmp_path / "t.toml").write_text('[data]\nname = "blobs"\n[model]\nname = "softmax"\n[methods.fedavg]\n')
    common = ["train", "t.toml", "--data", "./blobs", "--rounds", "2"]
    half = ["--set", "train.participation=0.5"]
    assert main([*common, *half, "--set", "train.sampler=activity:mix=0.1", "--set", "train.weighting=unbiased"]) == 0
    (record,) = tmp_path.glob("runs/t/*/run.toml")
    assert 'sampler = "activity:gamma=1.0,mix=0.1"' in record.read_text()
    assert 'weighting = "unbiased"' in record.read_text()
    capsys.readouterr()
    assert main([*common, "--set", "train.sampler=top:fraction=0.5", "--set", "train.weighting=unbiased"]) == 2
    assert "no weighting is unbiased" in capsys.readouterr().err
    assert main([*common, "--set", "train.weighting=unbaised"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
