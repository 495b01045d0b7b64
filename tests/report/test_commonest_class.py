"""The score of no learning at all, by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from selffl_cli.shards import ShardData, Shards, write_shards

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from commonest_class import commonest_class


def test_each_client_is_asked_for_its_own_commonest_class(tmp_path: Path) -> None:
    # client 0 trains on 1, 1, 0 and is tested on 1, 0; client 1 trains on 2, 0, 2 and is tested on 2, 2, 1
    y = np.array([1, 1, 0, 1, 0, 2, 0, 2, 2, 2, 1])
    client = np.array([0] * 5 + [1] * 6)
    part = np.array([0, 0, 0, 2, 2, 0, 0, 0, 2, 2, 2])
    arrays = {"x": np.zeros((11, 2), np.float32), "y": y}
    data = ShardData("made", "natural", "classification", arrays, client, part, ["a", "b"], ["0", "1", "2"])
    write_shards(tmp_path / "made", data)
    assert commonest_class(Shards.open(tmp_path / "made")) == 3 / 5
