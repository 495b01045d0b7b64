"""Personal models that did not change are scored once, and the metrics do not know it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from problems import class_shards, training
from torch import Tensor

from selffl_cli.engine.score_cache import Unchanged
from selffl_cli.runs.folder import METRICS
from selffl_cli.training import judge as judging


def metrics(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "time"} for line in lines]


@pytest.mark.parametrize("method", ["ditto", "fedavg", "fedavg-ft", "local"])
def test_metrics_are_the_same_to_the_bit(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = class_shards(tmp_path / "shards", clients=6)
    scored: list[int] = []
    evaluate = judging.evaluate_rows

    def counting(model, rows, clients, parts, sums):  # type: ignore[no-untyped-def]
        scored.append(len(clients))
        evaluate(model, rows, clients, parts, sums)

    monkeypatch.setattr(judging, "evaluate_rows", counting)
    settings = {"rounds": 4, "participation": 0.34, "batch_size": 5, "dtype": "float32"}
    training(tmp_path / "looked-up", shards, method, **settings).run()
    few = sum(scored)
    scored.clear()
    monkeypatch.setattr(Unchanged, "fill", lambda self, rows, places, sums: np.arange(len(places)))
    training(tmp_path / "all", shards, method, **settings).run()
    assert metrics(tmp_path / "looked-up") == metrics(tmp_path / "all")
    # a client is scored after its own rounds; before its first one it has the global model, whose scores it gets.
    # Fine-tuning starts from a new global model each round, so every client's model changes
    assert few == {"ditto": 4 * 2, "fedavg": 4 * 2, "local": 6 + 4 * 2, "fedavg-ft": 5 * 6}[method]
    assert sum(scored) > few or method == "fedavg-ft"


def test_a_personal_model_that_is_the_global_one_has_its_scores(tmp_path: Path) -> None:
    shards = class_shards(tmp_path / "shards", clients=6)
    training(tmp_path / "run", shards, "ditto", rounds=2, participation=0.34).run()
    start = metrics(tmp_path / "run")[0]["eval"]
    assert all(part["personal"] == part["global"] for part in start.values())
    later = metrics(tmp_path / "run")[2]["eval"]
    assert all(part["personal"] != part["global"] for part in later.values())


def test_one_bit_is_a_change() -> None:
    unchanged = Unchanged(3, ["test"])
    rows, places = torch.zeros(2, 4), np.array([2, 0])
    first = {"test": np.array([[1.0, 9, 2], [3, 9, 4]])}
    assert unchanged.fill(rows, places, first).tolist() == [0, 1]
    unchanged.keep(places, first)

    def again(rows: Tensor) -> tuple[list[int], list[float]]:
        sums = {"test": np.zeros((2, 3))}
        return unchanged.fill(rows, places, sums).tolist(), sums["test"].ravel().tolist()

    assert again(rows.clone()) == ([], [1, 0, 2, 3, 0, 4])
    rows[1, 3] = 1e-45
    assert again(rows) == ([1], [0, 0, 2, 0, 0, 4])
