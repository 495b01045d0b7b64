"""Evidence in a whole run: the folder's file, workers, kills, who else is delivered, clients that never trained."""

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

from selffl_cli.engine.cohort import Delivery
from selffl_cli.engine.parallel.collective import Collective
from selffl_cli.methods import actperfl_eb, evidence_table
from selffl_cli.shards import Shards
from selffl_cli.training import delivery
from selffl_cli.training.controls import Controls
from selffl_cli.training.delivery import handed

SETTINGS: dict[str, Any] = {
    "rounds": 3, "participation": 0.5, "batch_size": 4, "local_epochs": 1, "delivery_rounds": 1,
}  # fmt: skip


def files(folder: Path) -> list[bytes]:
    kept = ("evidence.json", "models.safetensors", "clients.parquet")
    return [(folder / name).read_bytes() for name in kept]


def test_the_run_folder_keeps_what_was_found(tmp_path: Path) -> None:
    run = training(tmp_path / "run", class_shards(tmp_path / "shards"), "actperfl-eb", **SETTINGS)
    result = run.run()
    found = json.loads((tmp_path / "run/evidence.json").read_text())
    assert found["form"] == "pooled" and len(found["amount_steps"]) == 6 and len(found["r"]) == 3
    assert sum(found["pi"]["family"].values()) == pytest.approx(1) == pytest.approx(sum(p for _, p in found["pi"]["k"]))
    for one in found["r"]:
        assert np.sum(one["mass"]) == pytest.approx(1)
    assert all(len(c["loss"]) == len(found["grid"]) for c in found["curves"].values())
    assert "evidence.json" in result["files"]
    table = parquet.read_table(tmp_path / "run/clients.parquet").to_pydict()
    assert table["delivery_gradients"] == found["amount_steps"]
    assert sum(table["evidence_gradients"]) == result["delivery"]["evidence_gradients"] > 0
    assert set(result["final"]["test"]) == {"global", "personal", "delivered"}


@pytest.mark.parametrize("engine", ["sequential", "stacked"])
def test_workers_change_no_bit(engine: Any, tmp_path: Path) -> None:
    shards = class_shards(tmp_path / "shards", clients=34)
    for workers in (1, 2):
        controls = Controls(engine=engine, workers=workers)
        training(tmp_path / f"{workers}", shards, "actperfl-eb", {"max_steps": 4}, controls=controls, **SETTINGS).run()
    assert files(tmp_path / "1") == files(tmp_path / "2")


class Killed(Exception):
    """The process ends here."""


def one_by_one(folder: Path) -> Any:
    """A run whose clients are asked and delivered to by themselves."""
    shards = folder.parent / "shards"
    opened = Shards.open(shards) if shards.exists() else class_shards(shards, clients=10)
    made = training(folder, opened, "actperfl-eb", {"max_steps": 2}, **{**SETTINGS, "rounds": 1})
    made.judge.chunks = lambda dealt: iter(dealt.clients[dealt.local][:, None])  # type: ignore[method-assign]
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kills") / "whole"
    one_by_one(folder).run()
    return folder


@pytest.mark.parametrize("place", range(10))
def test_a_kill_in_evidence_or_delivery_repeats_no_round_and_changes_no_bit(
    place: int, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at the first to the last of ten clients, in the first question, the walks and the delivery in turn."""
    killed = whole.parent / f"killed-{place}"
    calls = iter(range(1000))
    at = [0, 3, 7, 10, 14, 19, 20, 23, 26, 29][place]

    def killing(real: Any) -> Any:
        def call(*arguments: Any) -> Any:
            if next(calls) == at:
                raise Killed
            return real(*arguments)

        return call

    with monkeypatch.context() as patch:
        for module, name in ((evidence_table, "units"), (evidence_table, "read"), (delivery, "make")):
            patch.setattr(module, name, killing(getattr(module, name)))
        with pytest.raises(Killed):
            one_by_one(killed).run()
    again = one_by_one(killed)
    monkeypatch.setattr(again.method, "round", lambda *_: pytest.fail("a finished round was trained again"))
    again.run()
    assert files(killed) == files(whole)


def test_a_delivered_model_does_not_depend_on_who_is_delivered_with_it(tmp_path: Path) -> None:
    run = training(
        tmp_path / "run",
        class_shards(tmp_path / "shards"),
        "actperfl-eb",
        {"choice": "own"},
        new_clients=0.2,
        **SETTINGS,
    )
    result = run.run()
    models = load_file(tmp_path / "run/models.safetensors")["delivered"]
    state = handed(run)
    with torch.no_grad():
        for client in range(6):
            cohort = run.cohort(np.array([client]), run.rounds + 1, Collective(), state.clients)
            cohort.delivery = Delivery(average=True)
            assert torch.equal(run.method.deliver(state, cohort)[0], models[client])
    assert set(result["final"]["new"]) == {"global", "personal", "delivered"}
    found = json.loads((tmp_path / "run/evidence.json").read_text())
    (new,) = run.roles.newcomers.tolist()
    assert not found["told"][new] and found["with_evidence"] == 5  # it takes the pooled candidate


def test_every_form_of_the_choice_finishes(tmp_path: Path) -> None:
    shards = class_shards(tmp_path / "shards")
    for choice in ("posterior", "own", "evidence"):
        for base in ("held-out", "all"):
            options = {"choice": choice, "evidence_base": base, "max_steps": 4}
            result = training(tmp_path / choice / base, shards, "actperfl-eb", options, **SETTINGS).run()
            found = json.loads((tmp_path / choice / base / "evidence.json").read_text())
            assert result["status"] == "finished"
            assert found["form"] == choice or choice == "evidence"
            assert found["walks"] == (1 if base == "held-out" else 10 if choice == "evidence" else 4)


def test_a_rate_at_which_walks_diverge_ends_no_run(tmp_path: Path) -> None:
    """Entries that are not finite are counted, and nobody takes them."""
    shards = class_shards(tmp_path / "shards")
    run = training(tmp_path / "run", shards, "actperfl-eb", {"max_steps": 8}, **{**SETTINGS, "rounds": 1})
    real = actperfl_eb.gather

    def far(state: Any, *rest: Any) -> Any:  # theta^0 so far away that losses overflow
        state.server["origin"].fill_(1e300)
        return real(state, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(actperfl_eb, "gather", far)
        result = run.run()
    found = json.loads((tmp_path / "run/evidence.json").read_text())
    assert result["status"] == "finished" and found["not_finite"] > 0 and found["family"][:3] != "own"
    assert result["delivery"]["not_finite"] == 0
