"""WISDM's people and the presidents' addresses: real clients, read as published."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from data_prep.prepare import prepare
from selffl_cli.errors import SelfflError
from selffl_cli.shards import PARTS, Shards


def test_wisdm(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "wisdm/WISDM_ar_v1.1_transformed.arff.xz"
    shards = Shards.open(prepare("wisdm", {}, tmp_path, source))
    assert shards.num_clients == 36 and len(shards.manifest.classes) == 6
    assert sum(getattr(shards.manifest.samples, part) for part in PARTS) == 5418
    names = bytes(shards.shared["features"].numpy()).decode().split("\n")
    assert "UNIQUE_ID" not in names and "user" not in names and "RESULTANT" in names
    assert np.isfinite(shards.part("train").arrays["x"].numpy()).all()  # it has missing values


def test_wisdm_is_told_from_other_tables(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("user,class\n1,Walking\n")
    with pytest.raises(SelfflError, match="has not the 46 columns of WISDM"):
        prepare("wisdm", {}, tmp_path / "data", tmp_path / "t.csv")


def addresses(path: Path) -> Path:
    lines = []
    for year in range(1900, 1920):
        name = "Ann" if year < 1910 else "José" if year < 1919 else "Rare"
        text = " ".join(f"word{(year + i) % 7}" for i in range(60))
        lines.append(json.dumps({"year": year, "name": name, "party": "none", "text": text}))
    path.write_text("\n".join(reversed(lines)))
    return path


def test_speeches_by_speaker_drift_by_year(tmp_path: Path) -> None:
    source = addresses(tmp_path / "s.jsonl")
    options = {"at_least": 3, "periods": 2, "drift": "time"}
    shards = Shards.open(prepare("speeches", options, tmp_path, source))
    assert shards.clients["name"].to_pylist() == ["Ann", "José"] and shards.manifest.task == "language-model"
    train = shards.part("train")
    for client in range(2):
        begin, end = train.offsets[client : client + 2]
        decade, period = (train.arrays[key].numpy()[begin:end] for key in ("y", "period"))
        assert set(period) == {0, 1} and len(set(decade)) == 1
    whole = Shards.open(prepare("speeches", {"at_least": 1}, tmp_path, source))
    assert whole.num_clients == 3 and whole.manifest.notes["years"] == "1900 to 1919"


def test_real_speeches(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "speeches/state_of_the_union.jsonl.xz"
    shards = Shards.open(prepare("speeches", {}, tmp_path, source))
    assert shards.num_clients == 43 and "Abraham Lincoln" in shards.clients["name"].to_pylist()


def test_other_json_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "s.jsonl").write_text('{"play": 1}\n')
    with pytest.raises(SelfflError, match="line 1 is no object with year, name and text"):
        prepare("speeches", {}, tmp_path / "data", tmp_path / "s.jsonl")
