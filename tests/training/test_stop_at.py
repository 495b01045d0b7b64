"""A run that ends at a stated validation accuracy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from selffl_cli.cli.main import app
from selffl_cli.config.experiment import TrainConfig
from selffl_cli.errors import UsageError
from selffl_cli.planning.checks import check_stop
from selffl_cli.shards import ShardData, Shards, write_shards


@pytest.mark.parametrize("workers", [1, 2])
def test_it_ends_at_the_first_evaluation_that_is_good_enough(tmp_path: Path, workers: int) -> None:
    options = ["--data", f"{tmp_path}/data/", "--workers", str(workers), "--keep-models", "personal"]
    options += ["--rounds", "30", "--set", "train.eval_every=2", "--seeds", "0", "--method", "fedavg"]
    for name, stop in (("stopped", ["--set", "train.stop_at=0.6"]), ("full", [])):
        done = CliRunner().invoke(app, ["train", "digits", "--runs", str(tmp_path / name), *options, *stop])
        assert done.exit_code == 0, done.exception
    (stopped,), (full,) = ((tmp_path / name).glob("digits/*/result.json") for name in ("stopped", "full"))
    lines = [json.loads(line) for line in (full.parent / "metrics.jsonl").read_text().splitlines()]
    good = [line for line in lines if line.get("eval") and line["eval"]["validation"]["global"]["accuracy"] >= 0.6]
    result = json.loads(stopped.read_text())
    assert 0 < result["round"] == good[0]["round"] < 30
    assert result["final"] == good[0]["eval"]
    models = load_file(stopped.parent / "models.safetensors")
    assert torch.isfinite(models["personal"]).all() and models["personal"].abs().sum(1).min() > 0


def test_a_point_that_the_commonest_class_reaches_is_none(tmp_path: Path) -> None:
    """A validation point for a rare wake word must be more than always saying "other"."""
    place = tmp_path / "data"
    x, y = np.zeros((60, 4), np.float32), (np.arange(60) % 20 == 0).astype(np.int64)
    write_shards(place, ShardData(
        "made", "made", "classification", {"x": x, "y": y}, np.zeros(60, np.int64), np.arange(60) // 20, ["a"],
        ["other", "happy"],
    ))  # fmt: skip
    shards = Shards.open(place)
    check_stop(TrainConfig(stop_at=0.96), shards)
    check_stop(TrainConfig(), shards)
    with pytest.raises(UsageError, match=r"95\.0% .* is 'other'.*--set warm_start.train.stop_at=0.975"):
        check_stop(TrainConfig(stop_at=0.95), shards, "warm_start.")
