"""Code from outside the package in other processes: each launcher asks for the code that the run was planned with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from pages import files
from problems import class_shards
from tiny import TOML, comparable

from selffl_cli.cli.main import main
from selffl_cli.config.experiment import load_experiment
from selffl_cli.launchers.elsewhere import described, train_described
from selffl_cli.planning.plan import PlannedRun, Request, plan
from selffl_cli.training.controls import Controls

PAGES = {"own-method.md": "my_method.py", "own-metric.md": "my_metric.py", "own-data.md": "my_sampler.py"}
WORDS = ["train", "tiny.toml", "--data", "./blobs", "--seeds", "0-1"]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    class_shards(tmp_path / "blobs", clients=5)
    for page, name in PAGES.items():
        (tmp_path / name).write_text(files(page)[name])
    more = 'rounds = 4\nsampler = "my_sampler.py:Small:power=2"\nmetrics = ["my_metric.py:TopTwo"]'
    changed = TOML.replace("rounds = 40", more).replace("local_epochs = 6", "local_epochs = 1")
    changed = changed.partition("[methods.actperfl]")[0]
    (tmp_path / "tiny.toml").write_text(changed + '[methods.mine]\nmethod = "my_method.py:Clipped"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def same(place: Path, runs: str) -> None:
    folders = sorted((place / "alone" / "tiny").glob("*/result.json"))
    assert len(folders) == 2
    for path in folders:
        assert comparable(path.parent) == comparable(place / runs / "tiny" / path.parent.name)


def planned() -> PlannedRun:
    return plan(Request(load_experiment("tiny.toml"), data=Path("blobs"), seeds=[0]))[0]


def as_task(run: PlannedRun) -> dict[str, str]:
    """The run as a worker of Ray or SLURM carries it out, in this process."""
    return json.loads(train_described(described(run, Controls())))


def test_processes_of_this_machine_run_the_same_code(place: Path) -> None:
    assert main([*WORDS, "--jobs", "1", "--runs", "alone"]) == 0
    assert main([*WORDS, "--jobs", "2", "--runs", "beside"]) == 0
    assert main([*WORDS, "--jobs", "1", "--workers", "2", "--runs", "shared"]) == 0
    same(place, "beside")
    same(place, "shared")


@pytest.mark.parametrize("name", PAGES.values())
def test_a_worker_of_ray_with_other_code_fails_in_one_line(name: str, place: Path) -> None:
    run = planned()
    assert as_task(run)["status"] == "finished"
    (place / name).write_text((place / name).read_text() + "\n# changed\n")
    ending = as_task(replace(run, folder=place / "other"))
    assert ending["status"] == "failed" and "is another than the run's: its source has sha256" in ending["message"]
    assert name in ending["message"] and "\n" not in ending["message"]
    (place / name).unlink()
    ending = as_task(replace(run, folder=place / "none"))
    assert ending["status"] == "failed" and f"{name}: cannot be read" in ending["message"]


def test_runs_on_ray_give_the_same_bits(place: Path) -> None:
    pytest.importorskip("ray", reason="needs ray: pip install 'selffl[ray]'")
    assert main([*WORDS, "--jobs", "1", "--runs", "alone"]) == 0
    assert main([*WORDS, "--launcher", "ray", "--runs", "ray"]) == 0
    same(place, "ray")


@pytest.mark.parametrize("name", [None, "my_sampler.py"])
def test_ranks_of_torchrun_must_have_the_same_code(name: str | None, place: Path) -> None:
    """Rank 1 works in another folder, whose files are the same, or but for one."""
    class_shards(place / "other" / "blobs", clients=5)
    for file in ("tiny.toml", *PAGES.values()):
        more = "\n# changed\n" if file == name else ""
        (place / "other" / file).write_text((place / file).read_text() + more)
    (place / "start.py").write_text(
        "import os, runpy\nif os.environ['RANK'] == '1':\n    os.chdir('other')\n"
        "runpy.run_module('selffl_cli', run_name='__main__')\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "start.py", *WORDS, "--runs", "ranks"],
        text=True, capture_output=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    if name is None:
        assert done.returncode == 0, done.stderr
        assert main([*WORDS, "--jobs", "1", "--runs", "alone"]) == 0
        same(place, "ranks")
    else:
        assert len(said) == 1 and f"differs from rank 0 in the code of {name}:Small" in said[0]
        assert not (place / "ranks").exists()
