"""`torchrun … -m selffl_cli train`: real ranks that share no memory, one of them killed, and ranks that differ."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from problems import class_shards
from tiny import TOML, comparable, make_place, only_run

from selffl_cli.cli.main import main
from selffl_cli.methods import METHODS
from selffl_cli.runs.folder import METRICS, RESULT

pytestmark = [pytest.mark.timeout(1500), pytest.mark.slow]  # many short processes: slow on a machine that is busy
DELIVERED = ["--set", "train.delivery_rounds=1"]  # which actperfl-eb needs
ALL = [name for name in METHODS if name != "oracle"]  # which wants known variances
SHORT = ["train", "tiny.toml", "--data", "./blobs", "--set", "train.rounds=3", "--checkpoint-seconds", "0"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("place"))


def torchrun(place: Path, ranks: int, *arguments: str, program: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    words = program or ("-m", "selffl_cli")
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(ranks), *words, *arguments],
        cwd=place, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip


def methods(names: list[str]) -> list[str]:
    return [word for name in names for word in ("--method", name)]


def rank_of(launcher: subprocess.Popen[str], rank: int) -> int:
    """The process id of a rank."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children").read_text().split()
    for child in children:
        if f"RANK={rank}".encode() in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            return int(child)
    raise AssertionError(f"no rank {rank} among {children}")


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the ranks in /proc, which Linux alone has")
def test_ranks_that_share_no_memory_give_the_same_bits_also_after_one_was_killed(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every method on two ranks, rank 1 killed in the last one, which goes on with four: all equal to one process."""
    more = ["--set", "train.rounds=40", "--method", "actperfl:pool=all"]
    with monkeypatch.context() as patch:
        patch.chdir(place)
        assert main([*SHORT, *DELIVERED, *methods(ALL), "--runs", "alone"]) == 0
        assert main([*SHORT, *more, "--runs", "alone"]) == 0

    two = torchrun(place, 2, *SHORT, *DELIVERED, *methods(ALL), "--runs", "ranks", "--client-store", "disk")
    output, errors = two.communicate(timeout=600)
    assert two.returncode == 0 and "error" not in errors and output.count("round 3/3") == len(ALL)

    for kill_at in (5, 10, 15):  # in one of 150 kills gloo never notices, and torchrun ends rank 0 without a word
        two = torchrun(place, 2, *SHORT, *more, "--runs", "ranks")
        assert two.stdout is not None
        for line in two.stdout:
            if f"round {kill_at}/40" in line:
                break
        os.kill(rank_of(two, 1), signal.SIGKILL)
        begun = time.monotonic()
        _, errors = two.communicate(timeout=600)
        assert two.returncode == 1 and time.monotonic() - begun < 60
        assert "selffl_cli/" not in errors, "no traceback of ours"
        said = [line for line in errors.splitlines() if line.startswith("error:")]
        if said:
            break
    assert len(said) == 1 and "a rank died" in said[0] and "resumes the run" in said[0]
    unfinished = [
        path.parent for path in (place / "ranks/tiny").glob("*/run.toml") if not (path.parent / RESULT).exists()
    ]
    assert len(unfinished) == 1 and 5 <= len((unfinished[0] / METRICS).read_text().splitlines()) < 40

    four = torchrun(place, 4, *SHORT, *more, "--runs", "ranks")
    output, _ = four.communicate(timeout=600)
    assert four.returncode == 0 and "round 5/40 " not in output, "rounds done are not done again"
    folders = sorted((place / "alone/tiny").glob("*-*"))
    assert len(folders) == len(ALL) + 1
    for folder in folders:
        assert comparable(folder) == comparable(place / "ranks/tiny" / folder.name), folder.name


@pytest.mark.skipif(sys.platform != "linux", reason="ranks end with torchrun on Linux alone")
def test_ranks_end_with_a_torchrun_that_is_killed(place: Path) -> None:
    launcher = torchrun(place, 2, *SHORT, "--set", "train.rounds=100000", "--method", "fedavg", "--runs", "orphans")
    assert launcher.stdout is not None
    next(line for line in launcher.stdout if "round 2/" in line)
    ranks = [Path(f"/proc/{rank_of(launcher, rank)}") for rank in (0, 1)]
    launcher.kill()
    launcher.communicate()  # both ends of its pipes are closed once the ranks are gone
    deadline = time.monotonic() + 60
    while any(rank.exists() and "Z" not in (rank / "stat").read_text().split()[2] for rank in ranks):
        assert time.monotonic() < deadline, "a rank outlived torchrun"
        time.sleep(0.05)


def test_ranks_that_differ_are_refused_before_anything_is_written(place: Path) -> None:
    """Rank 1 sees other data, another learning rate, another numpy; one line says so, the run folder is not made."""
    class_shards(place / "other" / "blobs", clients=8)
    (place / "other" / "tiny.toml").write_text(TOML)
    moved = """
import os, runpy, sys
if os.environ["RANK"] == "1":
    {}
runpy.run_module("selffl_cli", run_name="__main__")
"""
    for change, says in (
        ('os.chdir("other")', "differs from rank 0 in data blobs: "),
        (
            'sys.argv += ["--set", "train.learning_rate=0.2"]',
            "differs from rank 0 in train.learning_rate: 0.2, not 0.1",
        ),
        ("import numpy; numpy.__version__ = '0.1'", "differs from rank 0 in numpy: 0.1, not "),
    ):
        (place / "start.py").write_text(moved.format(change))
        ranks = torchrun(place, 3, *SHORT, "--runs", "refused", program=("start.py",))
        _, errors = ranks.communicate(timeout=600)
        said = [line for line in errors.splitlines() if line.startswith("error:")]
        assert ranks.returncode == 1 and len(said) == 1 and says in said[0]
    assert not (place / "refused").exists()


def test_workers_beside_torchrun_are_bad_usage(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(place)
    assert main([*SHORT, "--workers", "2", "--runs", "refused"]) == 2
    assert "torchrun has started 2 ranks already" in capsys.readouterr().err
    assert only_run(place / "whole")
