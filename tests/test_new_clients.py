"""Clients held out of training are judged, and shown in the report."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from selffl_cli.cli.main import app

EXPERIMENT = """
name = "held-out"
seeds = [0, 1]
data = { name = "digits", clients = 8 }
model = { name = "softmax" }
train = { rounds = 2, eval_every = 2, new_clients = 0.25 }
[methods.fedavg]
[methods.local]
"""


def test_the_report_shows_each_method_on_clients_that_never_trained(tmp_path: Path) -> None:
    (tmp_path / "held-out.toml").write_text(EXPERIMENT)
    runs = ["--runs", str(tmp_path / "runs")]
    done = CliRunner().invoke(app, ["train", str(tmp_path / "held-out.toml"), *runs, "--data-folder",
                                    str(tmp_path / "data"), "--workers", "1"])  # fmt: skip
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
