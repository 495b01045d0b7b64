"""Whole trainings on several ranks, to the bit; divergence, and ranks that fail."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from problems import class_shards, gaussian_shards, training
from tiny import comparable

from selffl_cli.engine.parallel import workers as ranks
from selffl_cli.engine.parallel.collective import Collective
from selffl_cli.engine.parallel.workers import forked_ranks
from selffl_cli.errors import SelfflError
from selffl_cli.methods import METHODS
from selffl_cli.runs.folder import METRICS
from selffl_cli.shards import ShardData, Shards, write_shards
from selffl_cli.training.loop import Controls, Training


@pytest.fixture(scope="module")
def blobs(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return class_shards(tmp_path_factory.mktemp("shards") / "blobs", clients=7)


@pytest.fixture(scope="module")
def gaussian(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return gaussian_shards(tmp_path_factory.mktemp("shards") / "gaussian", clients=9)


def run(folder: Path, shards: Shards, method: str, workers: int, **options: Any) -> Path:
    controls = Controls(workers=workers, keep="personal")
    settings: dict[str, Any] = {
        "participation": 0.8,
        "batch_size": 5,
        "dtype": "float32",
        "rounds": 4,
        "eval_every": 2,
    }
    training(folder, shards, method, options, controls=controls, **settings).run()
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_the_same_bits_on_any_number_of_workers(method: str, tmp_path: Path, blobs: Shards, gaussian: Shards) -> None:
    shards = gaussian if method == "oracle" else blobs
    alone = comparable(run(tmp_path / "1", shards, method, 1))
    for workers in (2, 4) if method in ("actperfl", "fedavg") else (3,):
        assert comparable(run(tmp_path / str(workers), shards, method, workers)) == alone


@pytest.mark.parametrize(
    "options",
    [
        {"intra": "fisher", "pool": "all"},
        {"intra": "across-rounds", "steps": "curvature"},
        {"rate": "matched"},
    ],
    ids=str,
)
def test_the_same_bits_for_options_with_memory(options: dict[str, Any], tmp_path: Path, blobs: Shards) -> None:
    alone = comparable(run(tmp_path / "1", blobs, "actperfl", 1, **options))
    assert comparable(run(tmp_path / "2", blobs, "actperfl", 2, **options)) == alone


def test_a_run_is_the_same_twice_and_another_seed_is_not(tmp_path: Path, blobs: Shards) -> None:
    first, second = (comparable(run(tmp_path / name, blobs, "actperfl", 1)) for name in "ab")
    assert first == second
    training(tmp_path / "c", blobs, "actperfl", seed=1, batch_size=5, dtype="float32", rounds=4, eval_every=2).run()
    assert comparable(tmp_path / "c")[1] != first[1]


def test_every_method_of_a_seed_sees_the_same_clients(tmp_path: Path, blobs: Shards) -> None:
    seen = []
    for method in ("fedavg", "actperfl", "local"):
        lines = comparable(run(tmp_path / method, blobs, method, 1))[0]
        seen.append([sorted(line["per_client"]["client"]) for line in lines[1:]])
    assert seen[0] == seen[1] == seen[2] and all(len(clients) == 5 for clients in seen[0])


# failure


def poisoned(folder: Path, round_of_nan: Callable[[np.ndarray], None]) -> Shards:
    rng = np.random.default_rng(0)
    x, client = rng.normal(size=(40, 3)), np.repeat(np.arange(4), 10)
    round_of_nan(x)
    arrays = {"x": x, "y": rng.integers(0, 2, 40)}
    part = np.tile([0] * 6 + [1] * 2 + [2] * 2, 4)
    write_shards(folder, ShardData("bad", "natural", "classification", arrays, client, part, list("abcd"), ["n", "y"]))
    return Shards.open(folder)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("method", ["fedavg", "actperfl", "local"])
def test_nan_is_recorded_with_round_and_client(method: str, workers: int, tmp_path: Path) -> None:
    def spoil(x: np.ndarray) -> None:
        x[20:30] = np.nan  # client 2

    shards = poisoned(tmp_path / "shards", spoil)
    run_ = training(tmp_path / "run", shards, method, controls=Controls(workers=workers), rounds=5)
    result = run_.run()
    assert (result["status"], result["round"], result["client"]) == ("diverged", 1, 2)
    assert "client 2" in result["message"] and "round 1" in result["message"]
    lines = run_.folder.metrics()
    assert lines[-1]["round"] == 1 and lines[-1]["diverged"] == 2
    assert run_.folder.result == result and not (tmp_path / "run" / "checkpoint").exists()


def test_a_huge_rate_diverges_and_later_rounds_are_not_run(tmp_path: Path, gaussian: Shards) -> None:
    run_ = training(tmp_path / "run", gaussian, "fedavg", rounds=2000, learning_rate=1e6, eval_every=500)
    result = run_.run()
    assert result["status"] == "diverged" and 1 < result["round"] < 2000
    assert "NaN" not in (tmp_path / "run" / METRICS).read_text(), "JSON has no NaN"


def test_an_infinite_loss_is_divergence_though_the_model_is_finite(tmp_path: Path) -> None:
    """(theta - z)² overflows in float32 long before its gradient does."""
    z, s = np.array([[1.0], [1e20], [2.0]]), np.ones(3)
    arrays, part = {"x": np.concatenate([z, z]), "y": np.tile(s, 2)}, np.repeat([0, 2], 3)
    data = ShardData(
        "far", "natural", "gaussian", arrays, np.tile(np.arange(3), 2), part, list("abc"),
        shared={"theta_0": np.zeros(1)}, client_columns={"variance": s}, notes={"s0": 1.0},
    )  # fmt: skip
    write_shards(tmp_path / "shards", data)
    result = training(tmp_path / "run", Shards.open(tmp_path / "shards"), "fedavg", dtype="float32").run()
    assert (result["status"], result["round"], result["client"]) == ("diverged", 1, 1)


def test_a_worker_that_dies_is_an_error_not_a_hang() -> None:
    def program(collective: Collective) -> int:
        if collective.rank == 1:
            raise MemoryError("no room")
        return int(collective.add_up(torch.ones(1)))

    with pytest.raises(SelfflError, match="worker died"), forked_ranks(2) as collective:
        program(collective)


def test_a_worker_that_dies_before_it_connects_is_an_error_not_a_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranks, "die_with_parent", lambda parent: os._exit(3))
    with pytest.raises(SelfflError, match="a worker died"), forked_ranks(2):
        pass


def test_a_failing_rank_0_ends_the_others() -> None:
    def program(collective: Collective) -> None:
        if collective.rank == 0:
            raise ValueError("first")
        collective.add_up(torch.ones(1))

    with pytest.raises(ValueError, match="first"), forked_ranks(3) as collective:
        program(collective)


def test_training_is_built_without_touching_the_folder(tmp_path: Path, blobs: Shards) -> None:
    assert isinstance(training(tmp_path / "run", blobs, "fedavg"), Training)
    assert not list((tmp_path / "run").iterdir())
