"""Two TOMLs of one name never share a folder of runs or of results; moved, copied and shipped ones are no trouble."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from problems import class_shards

from selffl_cli.cli.main import main
from selffl_cli.config.inherit import experiments_folder
from selffl_cli.planning.owner import FILE, check_owner, take

TOML = """
data = { name = "blobs" }
model = { name = "softmax" }
train = { rounds = 1, local_steps = 1 }
seeds = [SEED]
[methods.fedavg]
"""


def write(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TOML.replace("SEED", str(seed)))
    return path


def test_commands_refuse_the_folder_of_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    class_shards(Path("blobs"), clients=2)
    write(Path("a/mine.toml")), write(Path("b/mine.toml"), seed=1)
    assert main(["train", "a/mine.toml", "--data", "./blobs", "--jobs", "1"]) == 0
    assert main(["report", "a/mine.toml", "--data", "./blobs", "--out", "results"]) == 0
    before = sorted(Path("runs").rglob("*"))
    capsys.readouterr()
    for words in (
        ["train", "b/mine.toml", "--data", "./blobs"],
        ["report", "b/mine.toml", "--data", "./blobs"],
        ["report", "b/mine.toml", "--data", "./blobs", "--out", "results", "--runs", "elsewhere"],
    ):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "a/mine.toml" in said and 'name = "mine-2"' in said
    assert sorted(Path("runs").rglob("*")) == before
    assert main(["train", "b/mine.toml", "--data", "./blobs", "--runs", "elsewhere", "--jobs", "1"]) == 0
    assert main(["train", "a/mine.toml", "--data", "./blobs", "--jobs", "1"]) == 0


def test_a_file_that_moved_or_was_copied_keeps_its_folder(tmp_path: Path) -> None:
    first, folder = write(tmp_path / "a" / "mine.toml"), tmp_path / "runs" / "mine"
    take(str(first), folder)
    copy = write(tmp_path / "b" / "mine.toml")
    check_owner(str(copy), folder)
    write(copy, seed=1)
    with pytest.raises(Exception, match="belongs to another experiment"):
        check_owner(str(copy), folder)
    first.unlink()
    check_owner(str(copy), folder)
    take(str(copy), folder)
    assert json.loads((folder / FILE).read_text()) == {"toml": "../../b/mine.toml"}
    moved = shutil.move(tmp_path, tmp_path.with_name("moved"))
    with pytest.raises(Exception, match="belongs to another experiment"):
        check_owner(str(write(moved / "mine.toml", seed=2)), moved / "runs" / "mine")


def test_shipped_experiments_keep_their_folders_and_folders_of_before_are_found(tmp_path: Path) -> None:
    own, folder = write(tmp_path / "digits.toml"), tmp_path / "runs" / "digits"
    check_owner(str(own), folder)  # nothing is there yet
    take("digits", folder)
    assert not folder.exists()
    run = folder / "digits-fedavg-s0-00000000"
    run.mkdir(parents=True)
    (run / "run.toml").touch()
    (run / "environment.json").write_text(json.dumps({"command": ["selffl", "train", "digits"]}))
    check_owner("digits", folder), check_owner(str(experiments_folder() / "digits.toml"), folder)
    with pytest.raises(Exception, match="'digits', which ships"):
        check_owner(str(own), folder)
    (run / "environment.json").write_text(json.dumps({"command": ["selffl", "train", "./digits.toml"]}))
    check_owner(str(own), folder)  # begun before folders said whose they are
    take(str(own), folder)
    with pytest.raises(Exception, match=r"digits\.toml"):
        check_owner("digits", folder)
