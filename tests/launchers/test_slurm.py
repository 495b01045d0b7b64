"""Runs as jobs of SLURM, whose commands a stand-in carries out on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny import comparable, make_place, only_run

from selffl_cli.cli.main import main
from selffl_cli.errors import UsageError
from selffl_cli.launchers import slurm
from selffl_cli.launchers.slurm import read_parameters

STAND_IN = Path(__file__).with_name("slurm_stand_in.py")
COMMANDS = ("sbatch", "srun", "sacct", "scancel", "scontrol")
TRAIN = ["train", "tiny.toml", "--data", "./blobs", "--checkpoint-seconds", "0", "--launcher", "slurm"]
ONE = [*TRAIN, "--method", "actperfl"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def cluster(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the experiment, its data, and the stand-in's commands on the path."""
    submitit = pytest.importorskip("submitit", reason="submitit is not installed (the extra slurm)")
    watcher = submitit.slurm.slurm.SlurmJob.watcher  # knows jobs by their numbers, which begin anew here
    watcher.clear()
    watcher._registered.clear()
    (tmp_path / "blobs").symlink_to(whole / "blobs")
    (tmp_path / "tiny.toml").write_text((whole / "tiny.toml").read_text())
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "plan").touch()
    (tmp_path / "bin").mkdir()
    for command in COMMANDS:
        file = tmp_path / "bin" / command
        file.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{STAND_IN}" {command} "$@"\n')
        file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN", str(tmp_path / "jobs"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    monkeypatch.setattr(slurm, "LOOK", 1.0)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def jobs(cluster: Path) -> list[str]:
    """How every job ended; what the driver knows of a run is there a moment before its job ends."""
    until = time.monotonic() + 60
    while any(path.read_text() in ("PENDING", "RUNNING") for path in (cluster / "jobs").glob("*.state")):
        assert time.monotonic() < until
        time.sleep(0.1)
    return [path.read_text() for path in sorted((cluster / "jobs").glob("*.state"))]


@pytest.mark.parametrize(
    ("how", "states"),
    [("requeue", ["COMPLETED"]), ("preempt", ["COMPLETED"]), ("gone", ["NODE_FAIL", "COMPLETED"])],
)
def test_a_killed_job_goes_on_to_the_same_numbers(cluster: Path, whole: Path, how: str, states: list[str]) -> None:
    """A node that fails, a job that must leave, and a job that SLURM gives up and that is handed in again."""
    (cluster / "jobs" / "plan").write_text(f"1 5 {how}\n")
    assert main([*ONE, "--slurm", "partition=short"]) == 0
    assert jobs(cluster) == states
    assert (cluster / "jobs" / "1.killed").read_text() == how
    assert comparable(only_run(cluster / "runs")) == comparable(only_run(whole / "whole"))
    script = next((cluster / "runs" / ".slurm").glob("*submission*.sh")).read_text()
    assert "#SBATCH --partition=short" in script and "#SBATCH --cpus-per-task=1" in script


def test_runs_go_beside_each_other_and_the_list_sees_them(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--rounds", "3", "--seeds", "0-1", "--jobs", "2"]) == 0
    assert jobs(cluster) == ["COMPLETED"] * 4
    capsys.readouterr()
    assert main(["ls"]) == 0
    assert "4 runs: 4 finished" in capsys.readouterr().out


def test_a_run_that_fails_is_named_with_its_reason(cluster: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ONE, "--rounds", "3", "--slurm", "gpus-per-node=1"]) == 1
    assert jobs(cluster) == ["COMPLETED"]  # its job was handed in once
    assert "this run is given a GPU, but this node's torch sees none" in " ".join(capsys.readouterr().err.split())


def test_ctrl_c_lets_jobs_save_and_the_same_command_goes_on(cluster: Path, whole: Path) -> None:
    words = [sys.executable, "-m", "selffl_cli", *ONE]
    driver = subprocess.Popen(words, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        until = time.monotonic() + 100
        while not any(file.read_bytes().count(b"\n") > 3 for file in cluster.glob("runs/tiny/*/metrics.jsonl")):
            assert time.monotonic() < until
            time.sleep(0.05)
        driver.send_signal(signal.SIGINT)
        assert driver.wait(60) == 128 + signal.SIGINT
    finally:
        driver.kill()
    assert main(ONE) == 0
    assert comparable(only_run(cluster / "runs")) == comparable(only_run(whole / "whole"))


@pytest.mark.parametrize(
    ("texts", "says"),
    [
        (["partition"], "write an option of sbatch as name=value"),
        (["Partition=x"], "write an option of sbatch"),
        (["comment=a\nb"], "write an option of sbatch"),
        (["output=x"], "selffl itself sets output"),
        (["time=1:00:00"], "in whole minutes"),
    ],
)
def test_options_that_are_none(texts: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        read_parameters(texts)


def test_options_of_another_launcher_are_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "digits", "--slurm", "partition=x"]) == 2
    assert "--slurm belongs to --launcher slurm" in capsys.readouterr().err


def test_without_slurm_here(cluster: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert main(ONE) == 2
    assert "there is no sbatch here" in capsys.readouterr().err
