"""Training over periods: what each round sees, what travels, and that neither a stop nor workers change anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from problems import training
from tiny import comparable

from selffl_cli import methods
from selffl_cli.config.experiment import TrainConfig
from selffl_cli.config.memory import canonical
from selffl_cli.config.run import RunConfig
from selffl_cli.continual.stream import TABLE
from selffl_cli.engine.parallel.collective import Collective
from selffl_cli.errors import UsageError
from selffl_cli.planning.checks import check_periods
from selffl_cli.planning.plan import Request, plan
from selffl_cli.shards import ShardData, Shards, write_shards
from selffl_cli.training.loop import Controls, Stopped, Training

PERIODS, ROUNDS, SIZE = 3, 2, 4
SELECTING = ["naive", "approx-uniform", "balanced", "uncoordinated", "coordinated:iterations=2"]


def shards(folder: Path, clients: int = 5) -> Shards:
    """Three periods of 7 training samples, one to validate and two to test; every period has a class of its own."""
    rng = np.random.default_rng(3)
    each = np.repeat([0, 0, 0, 0, 0, 0, 0, 1, 2, 2], 1)
    client = np.repeat(np.arange(clients), PERIODS * len(each))
    period = np.tile(np.repeat(np.arange(PERIODS), len(each)), clients)
    part = np.tile(each, clients * PERIODS)
    x = 2 * np.eye(4)[period] + rng.normal(size=(len(client), 4))
    data = ShardData(
        "blobs", "natural", "classification", {"x": x, "y": period.copy(), "period": period}, client, part,
        [f"c{i}" for i in range(clients)], ["a", "b", "c"], periods=PERIODS, arguments={"drift": "label"},
    )  # fmt: skip
    write_shards(folder, data)
    return Shards.open(folder)


def run(folder: Path, data: Shards, memory: str, method: str = "fedavg", **options: Any) -> Training:
    size = None if memory in ("none", "all") else SIZE
    options = {"participation": 0.6, "batch_size": 3, "dtype": "float64", **options}
    return training(
        folder, data, method, rounds=ROUNDS, periods=True, memory=memory, memory_size=size, **options
    )  # fmt: skip


@pytest.mark.parametrize("memory", ["none", "all", *SELECTING])
def test_each_round_sees_the_period_and_the_memory(memory: str, tmp_path: Path) -> None:
    data = shards(tmp_path / "data")
    seen: dict[int, dict[int, np.ndarray]] = {}
    own = run(tmp_path / "run", data, memory, controls=Controls(watch=lambda line: look(line)))

    def look(line: dict[str, Any]) -> None:
        period = own.stream.period(line["round"])
        seen.setdefault(period, {})
        for client in range(5):
            x, _ = own.stream.at(line["round"])[0].client(client)
            rows = [int((own.parts["train"].x == row).all(1).nonzero()[0, 0]) for row in x]
            seen[period].setdefault(client, np.array(rows))
            assert seen[period][client].tolist() == rows  # the same in every round of a period

    assert own.run()["status"] == "finished" and own.rounds == 6
    size = {"none": 0, "all": 10**6}.get(memory, SIZE)
    for client in range(5):
        for period in range(PERIODS):
            new = 21 * client + 7 * period + np.arange(7)
            rows = seen[period][client]
            assert rows[-7:].tolist() == new.tolist()
            memory_rows = set(rows[:-7].tolist())
            assert len(memory_rows) == len(rows) - 7 == min(size, 7 * period)
            assert memory_rows <= set(range(21 * client, 21 * client + 7 * period))
            if period and memory != "all":  # what was let go never comes back
                assert memory_rows <= set(seen[period - 1][client].tolist())
    lines = own.folder.metrics()
    assert [line["round"] for line in lines if "eval" in line] == list(range(7))
    assert {"test", "period-1", "period-2", "period-3"} <= set(lines[-1]["eval"])
    assert [line["round"] for line in lines if "memory" in line] == ([2, 4] if memory in SELECTING else [])


def test_forgetting_shows_and_memory_helps(tmp_path: Path) -> None:
    data = shards(tmp_path / "data")
    finals = {}
    for memory in ("none", "approx-uniform", "all"):
        own = run(tmp_path / memory, data, memory, learning_rate=0.5, local_epochs=5)
        own.run()
        finals[memory] = own.folder.metrics()[-1]["eval"]["period-1"]["global"]["loss"]
    assert finals["all"] < finals["none"] and finals["approx-uniform"] < finals["none"]


def test_bytes_of_choosing_are_counted(tmp_path: Path) -> None:
    data = shards(tmp_path / "data")
    totals = {}
    for memory in ("naive", "uncoordinated", "coordinated:iterations=2"):
        own = run(tmp_path / memory[:4], data, memory)
        result = own.run()
        totals[memory] = np.array([result["bytes_up"], result["bytes_down"]])
    model, head, choices = own.model.size, own.model.head_size, 2
    # the global model to all 5 clients, once a choice; and twice a head's numbers each way, 8 bytes each
    assert (totals["uncoordinated"] - totals["naive"]).tolist() == [0, choices * 5 * 8 * model]
    exchange = totals["coordinated:iterations=2"] - totals["uncoordinated"]
    assert exchange.tolist() == [choices * 5 * 8 * 2 * head] * 2


@pytest.mark.parametrize("memory", ["approx-uniform", "coordinated:iterations=2"])
def test_a_stop_in_the_middle_of_a_period_changes_nothing(memory: str, tmp_path: Path) -> None:
    data = shards(tmp_path / "data")
    run(tmp_path / "whole", data, memory, method="actperfl").run()
    for _ in range(9):  # stopped after every round, in the middle of a period and at its end
        try:
            run(tmp_path / "cut", data, memory, "actperfl", controls=Controls(should_stop=lambda: True)).run()
            break
        except Stopped:
            continue
    assert comparable(tmp_path / "whole") == comparable(tmp_path / "cut")


def test_workers_choose_the_same(tmp_path: Path) -> None:
    data = shards(tmp_path / "data")
    for workers in (1, 2):
        run(tmp_path / str(workers), data, "coordinated:iterations=2", controls=Controls(workers=workers)).run()
    one, two = comparable(tmp_path / "1"), comparable(tmp_path / "2")
    for line in [*one[0], *two[0]]:
        line.get("memory", {}).clear()  # norms by sums of other sizes may differ in the last digit
    assert one == two


@pytest.mark.parametrize("method", [name for name in methods.METHODS if name != "oracle"])
def test_every_method_trains_over_periods(method: str, tmp_path: Path) -> None:
    data = shards(tmp_path / "data")
    memory = "uncoordinated" if method == "local" else "coordinated"
    own = run(tmp_path / "run", data, memory, method)
    assert own.run()["status"] == "finished"
    kept = own.store.read(TABLE, torch.arange(5))
    assert ((kept >= 0).sum(1) == SIZE).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"memory": "naive", "memory_size": 3}, "a memory is kept from period to period; add --set train.periods=true"),
        ({"periods": True, "memory": "naive"}, "memory 'naive' needs its size; add "),
        ({"periods": True, "memory": "best", "memory_size": 3}, "unknown memory 'best'"),
        ({"periods": True, "memory": "coordinated:iteration=1", "memory_size": 3}, "did you mean 'iterations'"),
    ],
)
def test_what_cannot_be_asked(options: dict[str, Any], message: str) -> None:
    from selffl_cli.config.validation import validate

    with pytest.raises(UsageError, match=message):
        validate(TrainConfig, options, "train")


def test_what_these_shards_or_methods_cannot_do(tmp_path: Path) -> None:
    data = shards(tmp_path / "data")
    local, _ = methods.resolve("local", {})
    fedavg, _ = methods.resolve("fedavg", {})
    good = {"periods": True, "memory": "coordinated", "memory_size": 13}
    check_periods(TrainConfig(**good), data, fedavg)
    with pytest.raises(UsageError, match="no client has more than 14 samples to choose from; lower it, or keep every"):
        check_periods(TrainConfig(**{**good, "memory_size": 14}), data, fedavg)
    with pytest.raises(UsageError, match="clients of method local send nothing"):
        check_periods(TrainConfig(**good), data, local)
    from problems import class_shards

    with pytest.raises(UsageError, match="has one period; prepare the data with --periods 5 --drift"):
        check_periods(TrainConfig(**good), class_shards(tmp_path / "one"), fedavg)


@pytest.mark.parametrize("memory", ["none", "all", "approx-uniform", "uncoordinated"])
def test_privacy_of_users_counts_the_rounds_of_every_period(memory: str, tmp_path: Path) -> None:
    pytest.importorskip("dp_accounting")
    from selffl_cli.privacy.accountant import epsilon

    private = {"participation": 1.0, "sampler": "poisson:q=0.5", "privacy": "user:clip=0.5,noise=2"}
    data, lines = shards(tmp_path / "data"), []
    own = run(tmp_path / "run", data, memory, options={"weighting": "equal"}, controls=Controls(watch=lines.append),
              **private)  # fmt: skip
    result = own.run()
    assert result["round"] == ROUNDS * PERIODS
    assert result["privacy"]["epsilon"] == pytest.approx(epsilon(((2.0, 0.5, ROUNDS * PERIODS),), 1e-5))
    assert lines[0]["privacy"]["epsilon"] == 0 and lines[-1]["privacy"] == own.folder.metrics()[-1]["privacy"]
    target = epsilon(((2.0, 0.5, 4),), 1e-5)
    private["privacy"] = f"user:clip=0.5,noise=2,target-epsilon={target + 0.001}"
    stopped = run(tmp_path / "stopped", data, memory, options={"weighting": "equal"}, **private).run()
    assert stopped["round"] == 4 and "before round 5" in stopped["privacy"]["stopped"]


@pytest.mark.parametrize(
    ("memory", "privacy", "message"),
    [
        (
            "coordinated",
            "user:noise=1",
            "what coordination sends is neither clipped nor noised; use train.memory = uncoord",
        ),
        ("naive", "sample:noise=1", "how often a sample is looked at depends on the memory"),
    ],
)
def test_privacy_over_periods_is_refused_where_it_cannot_be_counted(
    memory: str, privacy: str, message: str, tmp_path: Path
) -> None:
    fedavg, _ = methods.resolve("fedavg", {})
    train = TrainConfig(periods=True, memory=memory, memory_size=3, sampler="poisson:q=0.5", privacy=privacy)
    with pytest.raises(UsageError, match=message):
        check_periods(train, shards(tmp_path / "data"), fedavg)


def test_a_method_that_shares_its_body_alone_can_be_coordinated(tmp_path: Path) -> None:
    fedrep, _ = methods.resolve("fedrep", {})
    train = TrainConfig(periods=True, memory="coordinated", memory_size=3)
    check_periods(train, shards(tmp_path / "data"), fedrep)


def test_a_record_without_periods_is_what_it_was(tmp_path: Path) -> None:
    """The key over everything that changes the numbers, as computed before there were periods."""
    from problems import class_shards

    own = training(tmp_path / "run", class_shards(tmp_path / "data"), "fedavg")
    config = own.config.model_copy(update={"data": {"name": "blobs", "hash": "0"}})
    assert config.key() == "be0e6d87"
    with_size = {**own.config.train.model_dump(), "periods": True, "memory": "all"}
    keys = {
        RunConfig(**{**config.model_dump(), "train": {**with_size, "memory_size": size}}).key() for size in (None, 5, 9)
    }
    assert len(keys) == 1  # "all" has no size: one run serves a sweep over sizes
    assert canonical("coordinated") == "coordinated:gradients=unit,iterations=1"


def test_the_command_plans_what_the_flags_say(tmp_path: Path) -> None:
    from selffl_cli.config.experiment import load_experiment

    data = shards(tmp_path / "data")
    overrides = {"train.periods": True, "train.memory": "coordinated:iterations=4", "train.memory_size": 5}
    experiment = load_experiment("digits", {**overrides, "model": {"name": "softmax"}})
    (planned,) = plan(Request(experiment, ["fedavg"], [0], data=data.path))
    assert planned.config.versions["memory"] == 1
    assert planned.config.train.memory == "coordinated:gradients=unit,iterations=4"


@pytest.mark.parametrize("memory", ["all", "naive"])
def test_activity_is_the_current_period_s_new_samples(memory: str, tmp_path: Path) -> None:
    """Another client has the most of each period; what it had before, or keeps in memory, draws nobody."""
    counts = np.array([[9, 2, 2], [2, 7, 2], [2, 2, 7], [6, 6, 6]])  # the last has the most in all
    client = np.repeat(np.arange(4), counts.sum(1) + PERIODS)
    cells = [(period, part) for row in counts for period, n in enumerate(row) for part in [0] * n + [2]]
    period, part = (np.array(column) for column in zip(*cells, strict=True))
    data = ShardData(
        "blobs", "natural", "classification", {"x": np.eye(4)[period], "y": period.copy(), "period": period}, client,
        part, [f"c{i}" for i in range(4)], ["a", "b", "c"], periods=PERIODS, arguments={"drift": "label"},
    )  # fmt: skip
    write_shards(tmp_path / "data", data)
    own = run(tmp_path / "run", Shards.open(tmp_path / "data"), memory, sampler="top:fraction=0.25")
    drawn = []
    own.controls.watch = lambda line: drawn.append(own.selected(line["round"], Collective()).clients.tolist())
    own.run()
    assert drawn == [[0], [0], [0], [1], [1], [2], [2]]
