"""Delivery as a stage of a run: figures beside the kept ones, and a kill in it loses no round and no bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch
from problems import class_shards, training
from safetensors.torch import load_file

from selffl_cli.config.claims import Claim
from selffl_cli.config.run import RunConfig
from selffl_cli.errors import UsageError
from selffl_cli.methods import METHODS
from selffl_cli.training import delivery
from selffl_cli.training.controls import Controls

PARTIAL = {"rounds": 3, "participation": 0.5, "batch_size": 4, "local_epochs": 1}


def files(folder: Path) -> dict[str, bytes]:
    """What a run's delivery decides, to the bit."""
    result = json.loads((folder / "result.json").read_text())
    found = {name: (folder / name).read_bytes() for name in ("models.safetensors", "clients.parquet")}
    return {**found, "final": json.dumps([result["final"], result["delivery"], result["gradients"]]).encode()}


def test_figures_stand_beside_the_kept_ones_which_stay(tmp_path: Path) -> None:
    shards = class_shards(tmp_path / "shards")
    off = training(tmp_path / "off", shards, "ditto", **PARTIAL).run()
    run = training(tmp_path / "on", shards, "ditto", delivery_rounds=2, **PARTIAL)
    result = run.run()
    for part, kinds in off["final"].items():
        assert {kind: result["final"][part][kind] for kind in kinds} == kinds
        assert set(result["final"][part]) == {"global", "personal", "delivered"}
    assert result["gradients"] == off["gradients"]  # those of delivery are counted apart
    table = parquet.read_table(tmp_path / "on/clients.parquet").to_pydict()
    assert table["delivery_gradients"] == [2 * 3] * 6  # two rounds of 12 samples in batches of 4, for v alone
    assert result["delivery"] == {"rounds": 2, "gradients": 36, "clients": 6, "not_finite": 0}
    assert sum(table["test_delivered_correct"]) / 30 == pytest.approx(result["final"]["test"]["delivered"]["accuracy"])
    models = load_file(tmp_path / "on/models.safetensors")
    assert models["delivered"].shape == models["personal"].shape
    assert not torch.equal(models["delivered"], models["personal"])
    assert torch.equal(models["personal"], load_file(tmp_path / "off/models.safetensors")["personal"])


@pytest.mark.parametrize("name", ["local", "fedavg", "ditto", "apfl", "pfedme", "actperfl-hb"])
def test_with_everybody_delivery_is_one_round_more(name: str, tmp_path: Path) -> None:
    """To the bit, with the last iterate."""
    shards = class_shards(tmp_path / "shards")
    settings: dict[str, Any] = {"batch_size": 4, "local_epochs": 1}
    training(tmp_path / "one", shards, name, rounds=3, delivery_rounds=1, delivery_average="last", **settings).run()
    training(tmp_path / "more", shards, name, rounds=4, **settings).run()
    models = [load_file(tmp_path / folder / "models.safetensors") for folder in ("one", "more")]
    assert torch.equal(models[0]["delivered"], models[1]["personal"])


def test_a_client_that_never_took_part_starts_from_what_init_makes_of_theta(tmp_path: Path) -> None:
    """Ditto's v of such a client is the finished theta, not the start; held out of training or merely never drawn."""
    run = training(
        tmp_path / "run", class_shards(tmp_path / "shards"), "ditto", rounds=2, clients_per_round=1, new_clients=0.2,
        local_steps=1, delivery_rounds=1, delivery_average="last",
    )  # fmt: skip
    result = run.run()
    theta = run.method.global_(run.state)
    assert theta is not None and run.delivered is not None
    idle = [m for m in range(6) if not run.store.read("participations", torch.tensor([m]))]
    assert len(idle) >= 4 and set(run.roles.newcomers.tolist()) <= set(idle)
    with torch.no_grad():
        for client in idle:  # at v = theta the pull is zero
            gradient, _ = run.model.gradient(theta, *run.parts["train"].client(client))
            torch.testing.assert_close(run.delivered[client], theta - 0.1 * gradient, rtol=1e-12, atol=1e-12)
    assert set(result["final"]["new"]) == {"global", "personal", "delivered"}
    assert result["final"]["new"]["personal"] == result["final"]["new"]["delivered"]  # one round, the last iterate


class Killed(Exception):
    """The process ends here."""


@pytest.mark.parametrize("place", range(10))
def test_a_kill_in_delivery_repeats_no_round_and_changes_no_bit(
    place: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before one of ten clients, each delivered by itself; the run that goes on trains no round again."""
    shards = class_shards(tmp_path / "shards", clients=10)
    settings: dict[str, Any] = {**PARTIAL, "delivery_rounds": 2}

    def run(folder: str) -> Any:
        made = training(tmp_path / folder, shards, "apfl", **settings)
        monkeypatch.setattr(made.judge, "chunks", lambda dealt: iter(dealt.clients[dealt.local][:, None]))
        return made

    run("whole").run()
    real, calls = delivery.make, iter(range(100))

    def make(*arguments: Any) -> Any:
        if next(calls) == place:
            raise Killed
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(delivery, "make", make)
        with pytest.raises(Killed):
            run("killed").run()
    again = run("killed")
    monkeypatch.setattr(again.method, "round", lambda *_: pytest.fail("a finished round was trained again"))
    again.run()
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_a_run_that_stopped_early_goes_on_with_its_delivery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`stop_at` ended the rounds before the kill."""
    shards = class_shards(tmp_path / "shards")
    settings: dict[str, Any] = {**PARTIAL, "rounds": 9, "stop_at": 0.01, "delivery_rounds": 1}
    training(tmp_path / "whole", shards, "fedavg", **settings).run()
    with monkeypatch.context() as patch:
        patch.setattr("selffl_cli.training.loop.deliver", lambda *_: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            training(tmp_path / "killed", shards, "fedavg", **settings).run()
    training(tmp_path / "killed", shards, "fedavg", **settings).run()
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


@pytest.mark.parametrize("engine", ["sequential", "stacked"])
def test_workers_change_no_bit(engine: Any, tmp_path: Path) -> None:
    shards = class_shards(tmp_path / "shards", clients=40)
    for workers in (1, 2):
        controls = Controls(engine=engine, workers=workers)
        training(tmp_path / f"{workers}", shards, "actperfl", controls=controls, delivery_rounds=1, **PARTIAL).run()
    assert files(tmp_path / "1") == files(tmp_path / "2")


def test_a_model_that_is_not_finite_is_the_global_one_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = training(tmp_path / "run", class_shards(tmp_path / "shards"), "fedavg", rounds=1, delivery_rounds=1)
    monkeypatch.setattr(
        METHODS["fedavg"], "deliver",
        lambda _, state, cohort: torch.where(cohort.clients[:, None] == 2, torch.nan, state.server["theta"] + 1),
    )  # fmt: skip
    result = run.run()
    assert result["status"] == "finished" and result["delivery"]["not_finite"] == 1
    assert run.delivered is not None
    theta = run.method.global_(run.state)
    assert [bool(torch.equal(row, theta)) for row in run.delivered] == [m == 2 for m in range(6)]


def test_only_the_judged_are_delivered_where_no_model_is_kept(tmp_path: Path) -> None:
    run = training(
        tmp_path / "run", class_shards(tmp_path / "shards"), "fedavg", rounds=1, eval_clients=2, delivery_rounds=1
    )
    result = run.run()
    assert result["delivery"]["clients"] == 2 and "delivered" in result["final"]["test"]
    spent = parquet.read_table(tmp_path / "run/clients.parquet")["delivery_gradients"].to_numpy()
    assert np.flatnonzero(spent).tolist() == run.judge.clients.tolist()


def test_runs_without_delivery_keep_their_hash(tmp_path: Path) -> None:
    """Off, the two keys are left out of it; on, both are in."""
    config: RunConfig = training(tmp_path / "run", class_shards(tmp_path / "shards"), "fedavg").config
    keys = {
        config.model_copy(update={"train": config.train.model_copy(update=given)}).key()
        for given in ({}, {"delivery_rounds": 1}, {"delivery_rounds": 1, "delivery_average": "last"})
    }
    assert len(keys) == 3 and config.train.delivery_rounds == 0


def test_private_gradients_of_samples_are_not_delivered(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="epsilon does not count them; set delivery_rounds = 0"):
        training(
            tmp_path / "run", class_shards(tmp_path / "shards"), "fedavg", privacy="sample:noise=1",
            sampler="poisson:q=0.5", delivery_rounds=1,
        )  # fmt: skip


def test_a_claim_on_delivered_models_needs_delivery() -> None:
    from selffl_cli.config.experiment import Experiment
    from selffl_cli.planning.claims import check

    claim = Claim(id="it", text="So it is", left="fedavg:test.delivered.accuracy", right=0.5, relation="greater")
    for rounds in (1, 0):
        experiment = Experiment(
            name="made", seeds=[0], data={"name": "digits"}, model={"name": "softmax"}, methods={"fedavg": {}},
            train={"rounds": 2, "delivery_rounds": rounds}, claims=[claim],
        )  # type: ignore[arg-type]  # fmt: skip
        if rounds:
            check(experiment)
            continue
        with pytest.raises(UsageError, match=r"no model is delivered; set delivery_rounds = 1 in \[train\]"):
            check(experiment)
