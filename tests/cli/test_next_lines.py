"""Every `next:` line is run as it stands: it goes on with the same data, options, start and folders."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from selffl_cli.cli.main import main

TOML = """
name = "own"
seeds = [0]
data = { name = "digits", clients = 4 }
model = { name = "softmax" }
train = { rounds = 2, local_steps = 1 }
[methods.fedavg]
[methods.local]
[tuning]
seed = 9
rounds = 1
[tuning.grids]
fedavg = { "train.learning_rate" = [0.1, 0.2] }
local = { "train.learning_rate" = [0.1, 0.2] }
"""


def following(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The words of the command that was printed last as the next one, without the program's name."""
    found = re.findall(r"(?m)^next: +(selffl .*?)(?:  .*)?$", capsys.readouterr().out)
    assert len(found) == 1
    return shlex.split(found[0])[1:]


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(words) == 0, words
    return following(capsys)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my files").mkdir()
    (tmp_path / "my files" / "own.toml").write_text(TOML)
    return tmp_path


def test_from_data_to_a_report(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    next_ = run(["prepare", "digits", "--clients", "6", "--data", "kept here"], capsys)
    assert next_[:2] == ["train", "digits"]
    assert main([*next_, "--rounds", "1", "--seeds", "0", "--method", "fedavg", "--jobs", "1"]) == 0


def test_what_was_typed_for_training_is_typed_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "my files/own.toml", "-m", "fedavg", "--runs", "first", "--jobs", "1"]) == 0
    (start,) = Path("first/own").glob("*/models.safetensors")
    capsys.readouterr()
    typed = ["--set", "train.batch_size=5", "--rounds", "3", "--seeds", "4-5", "--init", str(start)]
    typed += ["--runs", "my runs", "--data", "my data/"]
    next_ = run(["train", "my files/own.toml", "-m", "fedavg", *typed, "--jobs", "1"], capsys)
    assert next_[0] == "train" and "--seeds" in next_
    next_ = run([*next_, "--jobs", "1"], capsys)
    assert next_[0] == "report" and len(list(Path("my runs/own").glob("*/run.toml"))) == 4
    assert main(next_) == 0
    page = Path("my runs/own/report/README.md").read_text()
    assert "left out" not in page and not Path("runs").exists()


def test_tuning_goes_on_with_training(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["--set", "train.batch_size=5", "--runs", "my runs", "--data", "my data/"]
    next_ = run(["tune", "my files/own.toml", *typed, "--jobs", "1"], capsys)
    next_ = run([*next_, "--jobs", "1"], capsys)
    assert next_[0] == "report" and main(next_) == 0
    assert not Path("runs").exists() and not Path("data").exists()
