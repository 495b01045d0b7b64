"""Two `selffl train` of one experiment at once: each run is trained once, and both end well."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from problems import class_shards
from tiny import TOML, comparable

from selffl_cli.cli.main import main
from selffl_cli.files.atomic import write_whole
from selffl_cli.planning import tuning
from selffl_cli.runs.folder import LOCK, METRICS, RESULT

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]
WARM = TOML + '[warm_start]\nmethod = "fedavg"\nrounds = 3\n'
TRAIN = ["train", "warm.toml", "--data", "./blobs", "--seeds", "0-1", "--checkpoint-seconds", "0"]
ALONE, BESIDE = ["--jobs", "1", "--workers", "1"], ["--jobs", "2", "--workers", "1"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment, its shards, and its six runs (a shared start and two methods, two seeds) made in peace."""
    folder = tmp_path_factory.mktemp("place")
    class_shards(folder / "blobs", clients=7)
    (folder / "warm.toml").write_text(WARM)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*TRAIN, "--runs", "whole", *ALONE]) == 0
    return folder


@contextmanager
def started(place: Path, runs: str, how: list[str]) -> Iterator[subprocess.Popen[str]]:
    """`selffl train` in a process of its own, which writes what it says to a file."""
    number = len(list(place.glob("said-*")))
    with open(place / f"said-{number}", "w+") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "selffl_cli", *TRAIN, "--runs", runs, *how], cwd=place, text=True,
            stdout=said, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
        process.said = Path(said.name)  # type: ignore[attr-defined]
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def said(process: subprocess.Popen[str]) -> str:
    return process.said.read_text()  # type: ignore[attr-defined, no-any-return]


def wait_for(condition, patience: float = 250.0) -> None:
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def assert_whole(place: Path, runs: str) -> None:
    folders = sorted((place / "whole/tiny").glob("*-*"))
    assert [folder.name for folder in folders] == [
        folder.name for folder in sorted((place / runs / "tiny").glob("*-*"))
    ]
    for folder in folders:
        again = place / runs / "tiny" / folder.name
        assert comparable(folder) == comparable(again), folder.name
        assert {path.name for path in folder.iterdir()} == {path.name for path in again.iterdir()}


@pytest.mark.parametrize(("one", "other"), [(ALONE, ALONE), (BESIDE, BESIDE), (ALONE, BESIDE)])
def test_both_end_well_and_share_the_work(one: list[str], other: list[str], place: Path) -> None:
    runs = f"both-{one[1]}{other[1]}"
    with started(place, runs, one) as first, started(place, runs, other) as second:
        assert first.wait(250) == 0, said(first)
        assert second.wait(250) == 0, said(second)
        both = said(first) + said(second)
        assert "error" not in both and "Traceback" not in both
        if one == other == ALONE:  # where each round is a line: each was done once
            assert both.count("round 1/") == 6 and both.count("round 40/") == 4
    assert_whole(place, runs)


def held_back(first: subprocess.Popen[str], place: Path, runs: str) -> Path:
    """Stop the process in the middle of a run, whose folder it goes on holding."""
    wait_for(lambda: "round 4/40" in said(first))
    first.send_signal(signal.SIGSTOP)
    folders = [path.parent for path in (place / runs / "tiny").glob(f"*/{LOCK}")]
    (folder,) = (folder for folder in folders if not (folder / RESULT).exists())
    return folder


@pytest.mark.parametrize("how", [ALONE, BESIDE], ids=["alone", "jobs"])
def test_the_run_of_one_that_is_killed_is_taken_over(how: list[str], place: Path) -> None:
    """The second does all the rest, says once for whom it waits, and goes on from the checkpoint."""
    runs = f"killed-{how[1]}"
    with started(place, runs, ALONE) as first:
        folder = held_back(first, place, runs)
        before = (folder / METRICS).read_bytes()
        with started(place, runs, how) as second:
            wait_for(lambda: "waiting for" in said(second) or second.poll() is not None)
            time.sleep(0.5)
            assert re.findall("waiting for .*", said(second)) == [
                f"waiting for process {first.pid}, which works on {folder.name}"
            ]
            assert len(list((place / runs / "tiny").glob(f"*/{RESULT}"))) == 5
            first.kill()
            assert second.wait(250) == 0, said(second)
        assert (folder / METRICS).read_bytes().startswith(before[: before.rindex(b"\n", 0, -1) + 1])
    assert_whole(place, runs)


@pytest.mark.parametrize("how", [ALONE, BESIDE], ids=["alone", "jobs"])
def test_one_that_waits_finds_what_the_other_finishes_and_can_be_interrupted(how: list[str], place: Path) -> None:
    runs = f"paused-{how[1]}"
    with started(place, runs, ALONE) as first:
        held_back(first, place, runs)
        with started(place, runs, how) as second, started(place, runs, [*how, "--budget", "1000s"]) as third:
            for process in (second, third):
                wait_for(lambda process=process: "waiting for" in said(process) or process.poll() is not None)
                assert process.poll() is None, said(process)
            third.send_signal(signal.SIGINT)
            assert third.wait(60) == 130 and "Go on with" in said(third)
            first.send_signal(signal.SIGCONT)
            assert first.wait(250) == 0, said(first)
            assert second.wait(250) == 0, said(second)
    assert_whole(place, runs)


def test_under_torchrun_it_leaves_with_a_word(place: Path) -> None:
    with started(place, "ranks", ALONE) as first:
        folder = held_back(first, place, "ranks")
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        second = subprocess.run(
            [*torchrun, "-m", "selffl_cli", *TRAIN, "--runs", "ranks"], cwd=place, text=True, capture_output=True,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        )  # fmt: skip
    assert second.returncode == 1
    assert f"{folder.name}: process {first.pid} works on this run; wait for it or stop it" in second.stderr


def at_once(*works: Callable[[], object]) -> list[int]:
    """The exit codes of forked processes, 1 where the work raised."""
    children = []
    for work in works:
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work()
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def test_two_that_write_one_file_leave_that_of_one(tmp_path: Path) -> None:
    path, contents = tmp_path / "audit.json", [letter * 100_000 for letter in (b"a", b"b")]
    works = [lambda content=content: [write_whole(path, content) for _ in range(100)] for content in contents]
    assert at_once(*works) == [0, 0]
    assert path.read_bytes() in contents and [p.name for p in tmp_path.iterdir()] == ["audit.json"]


def test_two_tunings_keep_each_others_choices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tuned").mkdir()
    experiment = SimpleNamespace(name="tuned", tuning=SimpleNamespace(seed=1, rounds=2, score="personal"))
    request: Any = SimpleNamespace(experiment=experiment, runs=tmp_path, data=None, init=None)
    monkeypatch.setattr(tuning, "asked_of", lambda experiment, label, given: {})
    monkeypatch.setattr(tuning, "score", lambda experiment, run: 0.5)

    def tune(method: str) -> None:
        for number in range(20):
            run: Any = SimpleNamespace(folder=Path("run"))
            tuning.record(request, [(f"{method}-{number}", {"lam": number}, run)])

    assert at_once(lambda: tune("fedavg"), lambda: tune("ditto")) == [0, 0]
    assert len(tuning.read(tmp_path / "tuned" / tuning.FILE)["chosen"]) == 40
    assert [path.name for path in (tmp_path / "tuned").iterdir()] == [tuning.FILE]
