"""Clients held out of training are judged, and shown in the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import references
import torch
from problems import class_shards, training
from references import Setting, descend
from typer.testing import CliRunner

from selffl_cli.cli.main import app
from selffl_cli.methods import METHODS
from selffl_cli.training.delivery import judge_newcomers
from selffl_cli.training.loop import Training

EXPERIMENT = """
name = "held-out"
seeds = [0, 1]
data = { name = "digits", clients = 8 }
model = { name = "softmax" }
train = { rounds = 2, eval_every = 2, new_clients = 0.25 }
[methods.fedavg]
[methods.local]
"""


@pytest.mark.usefixtures("no_pictures")
def test_the_report_shows_each_method_on_clients_that_never_trained(tmp_path: Path) -> None:
    (tmp_path / "held-out.toml").write_text(EXPERIMENT)
    runs = ["--runs", str(tmp_path / "runs")]
    done = CliRunner().invoke(app, ["train", str(tmp_path / "held-out.toml"), *runs, "--data", f"{tmp_path}/data/",
                                    "--workers", "1"])  # fmt: skip
    assert done.exit_code == 0, done.exception
    done = CliRunner().invoke(app, ["report", str(tmp_path / "held-out.toml"), *runs, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.exception
    page = (tmp_path / "out" / "held-out" / "README.md").read_text()
    table = page.split("Clients that never trained")[1].split("\n\n")[1]
    finals = [
        json.loads(path.read_text())["final"] for path in (tmp_path / "runs").glob("held-out/*-local-*/result.json")
    ]
    mean = sum(final["new"]["personal"]["accuracy"] for final in finals) / 2
    (local,) = [row for row in table.splitlines() if row.startswith("| local")]
    assert f"{100 * mean:.1f}" in local
    assert all(set(final["new"]) == {"personal"} for final in finals)  # local training has no global model


ETA, STEPS = 0.1, 3
HEAD = np.arange(43) >= 25  # of the network 4-5-3
Grad = Callable[[np.ndarray], np.ndarray]


def alone(theta: np.ndarray, grad: Grad) -> Setting:
    """One client, one round, from this model."""
    return Setting(theta, [grad], [1], [STEPS], ETA, [[0]])


def new_head(theta: np.ndarray, grad: Grad) -> np.ndarray:
    head, w = theta, theta
    for _ in range(STEPS):
        head = np.where(HEAD, head - ETA * grad(head), head)
    return np.where(HEAD, head, w)  # the body it trains after that is the server's to average, and goes


EXPECTED: dict[str, Callable[[np.ndarray, Grad], np.ndarray]] = {
    **dict.fromkeys(("fedavg", "fedavg-ft", "local", "actperfl", "actperfl-hb", "actperfl-eb"),
                    lambda theta, grad: descend(theta, grad, ETA, STEPS)),
    "fedprox": lambda theta, grad: references.fedprox(alone(theta, grad), 0.01)[1][0],
    "ditto": lambda theta, grad: references.ditto(alone(theta, grad), 1.0, True)[1][0],
    "perfedavg": lambda theta, grad: descend(theta, grad, 0.01, 1),
    "pfedme": lambda theta, grad: references.pfedme(
        alone(theta, grad), 15.0, 5, 0.09, STEPS, ETA, 1.0, "local", False)[1][0],
    "apfl": lambda theta, grad: references.apfl(alone(theta, grad), 0.5, False, False)[1][0],
    "fedrep": new_head,
}  # fmt: skip


def judged_anew(run: Training) -> tuple[dict[str, Any], dict[int, np.ndarray]]:
    """The figures of a finished run's new clients, and each one's personal model."""
    rows: dict[int, np.ndarray] = {}
    add = run.judge.add_scores

    def seen(models: torch.Tensor, places: np.ndarray, *rest: Any) -> None:
        rows.update(zip(places.tolist(), models.numpy().copy(), strict=True))
        add(models, places, *rest)

    run.judge.add_scores = seen  # type: ignore[method-assign]
    return judge_newcomers(run, run.judge), rows


@pytest.mark.parametrize("name", [name for name in METHODS if name != "oracle"])
def test_each_method_personalises_a_new_client_in_its_own_way(name: str, tmp_path: Path) -> None:
    """From the finished global model (training alone: from the start), on its training data; nobody else changes."""
    run = training(tmp_path / "run", class_shards(tmp_path / "shards"), name, new_clients=0.4, local_steps=STEPS)
    result = run.run()
    theta = run.method.global_(run.state)
    start = (run.model.start if theta is None else theta).numpy().copy()
    before = [rows.tobytes() for rows in run.state.clients.pack(np.arange(6))]
    for part in ("validation", "test"):  # which personalising must not read
        run.parts[part].x = run.parts[part].x * torch.nan
    _, rows = judged_anew(run)
    assert sorted(rows) == run.roles.newcomers.tolist() and len(rows) == 2
    for client, row in rows.items():
        x, y = (values.numpy() for values in run.parts["train"].client(client))
        grad = references.mlp_gradient(x, y, 5, 3)
        np.testing.assert_allclose(row, EXPECTED[name](start, grad), rtol=0, atol=1e-12)
        assert not np.allclose(row, start)
    assert theta is None or np.array_equal(run.method.global_(run.state).numpy(), start)  # type: ignore[union-attr]
    assert [rows.tobytes() for rows in run.state.clients.pack(np.arange(6))] == before
    figures = result["final"]["new"]
    assert set(figures) == ({"personal"} if name == "local" else {"personal", "global"})
