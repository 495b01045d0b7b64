"""A number to predict: its loss and figures by hand, the same on both engines, from a table to a report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas
import pytest
import torch
from problems import training

from data_prep.prepare import prepare
from selffl_cli.metrics import read_metrics
from selffl_cli.models.task import Regression, batch_loss
from selffl_cli.runs.folder import RunFolder
from selffl_cli.shards import Shards
from selffl_cli.training.controls import Controls

CLIENTS, EACH = 6, 12


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    folder, rng = tmp_path_factory.mktemp("numbers"), np.random.default_rng(0)
    x, client = rng.normal(size=CLIENTS * EACH), np.repeat(np.arange(CLIENTS), EACH)
    y = 100 + 20 * x + 5 * client + rng.normal(size=len(x))
    pandas.DataFrame({"who": client, "x": x, "y": y}).to_csv(folder / "t.csv", index=False)
    return Shards.open(prepare("table", {"client": "who", "target": "y"}, folder, folder / "t.csv"))


def test_the_number_is_scaled_by_the_training_samples(shards: Shards) -> None:
    y, notes = shards.part("train").arrays["y"].double(), shards.manifest.notes
    assert shards.manifest.task == "regression" and shards.manifest.outputs == 1 and not shards.manifest.classes
    assert abs(float(y.mean())) < 1e-5 and float(y.std(correction=0)) == pytest.approx(1, abs=1e-5)
    whole = torch.cat([shards.part(part).arrays["y"] for part in ("train", "validation", "test")]).double()
    back = whole * notes["target_standard_deviation"] + notes["target_mean"]
    raw = pandas.read_csv(shards.path.parent / "t.csv")["y"]
    assert np.allclose(np.sort(back.numpy()), np.sort(raw), atol=1e-3)


def test_loss_and_figures_by_hand() -> None:
    outputs, y = torch.tensor([[1.0], [0.0], [-2.0]]), torch.tensor([0.5, 0.5, 1.0])
    x = torch.zeros(3, 1)
    assert Regression.scores(outputs, x, y).tolist() == [0.25, 0.25, 9.0]
    assert float(batch_loss(Regression, outputs, x, y)) == pytest.approx(9.5 / 6)
    error, explained = read_metrics(["absolute_error", "r2"])
    assert error.scores(outputs, x, y).tolist() == [0.5, 0.5, 3.0]
    assert explained.figure(np.array([9.5 / 3, 0.0, 1.0])).tolist() == pytest.approx([1 - 9.5 / 3, 1.0, 0.0])


@pytest.mark.parametrize("method", ["fedavg", "ditto", "actperfl", "fedrep"])
def test_both_engines_agree(method: str, shards: Shards, tmp_path: Path) -> None:
    lines = {}
    for engine in ("sequential", "stacked"):
        run = training(
            tmp_path / engine, shards, method, model={"name": "mlp", "hidden": [4]},
            controls=Controls(engine=engine), metrics=["absolute_error", "r2"],
        )  # fmt: skip
        run.run()
        lines[engine] = RunFolder(tmp_path / engine).metrics()[-1]
    one, two = (lines[engine]["eval"]["test"]["personal"] for engine in ("sequential", "stacked"))
    assert {"squared_error", "absolute_error", "r2"} <= set(one)
    for name, value in one.items():
        assert two[name] == pytest.approx(value, rel=1e-9), name
    assert one["r2"] == pytest.approx(1 - one["squared_error"])
