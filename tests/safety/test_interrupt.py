"""The command itself, interrupted, terminated, killed, out of time, and asked again."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import arguments, comparable, make_place, only_run

from selffl_cli.cli.main import main
from selffl_cli.runs.folder import CHECKPOINT, RESULT, RunFolder

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("place"))


@pytest.fixture(autouse=True)
def hangups_are_heard() -> Iterator[None]:
    """A process ignores the signals that its parent ignores, as SIGHUP under nohup; here it is not ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def started(place: Path, *more: str, runs: str = "broken") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "selffl_cli", *arguments(runs), *more], cwd=place, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip


def until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    raise AssertionError(f"ended before {text}: {process.stderr.read() if process.stderr else ''}")


def test_the_command_interrupted_terminated_and_killed(place: Path) -> None:
    """Ctrl-C, then SIGTERM, then kill -9, with different workers; it ends as if nothing had been."""
    last = -1
    for number, code, workers in ((signal.SIGINT, 130, "2"), (signal.SIGTERM, 143, "1"), (signal.SIGHUP, 129, "2")):
        process = started(place, "--workers", workers)
        until(process, f"round {last + 4}/40")
        os.killpg(process.pid, number)  # as terminals and schedulers do: its workers hear it too
        output, errors = process.communicate(timeout=60)
        assert process.returncode == code and errors.startswith("stopping at the end of this round")
        assert "everything so far is saved" in output
        assert shlex.join(["selffl", *arguments("broken"), "--workers", workers]) in output
        folder = RunFolder(only_run(place / "broken"))
        assert f"round {last}/40" not in output and folder.result is None
        last = folder.metrics()[-1]["round"]
        assert list((folder.path / CHECKPOINT).glob(f"manifest-{last:07d}.json"))
    process = started(place, "--workers", "2")
    until(process, f"round {last + 4}/40")
    process.kill()
    process.wait(timeout=60)
    assert folder.result is None
    process = started(place, "--workers", "2")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0 and errors == ""
    assert f"round {last + 1}/40" not in output, "rounds done are not done again"
    assert comparable(folder.path) == comparable(only_run(place / "whole"))


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the worker in /proc, which Linux alone has")
def test_a_worker_that_is_killed_ends_the_run_at_once_and_any_number_of_workers_resumes_it(place: Path) -> None:
    process = started(place, "--workers", "2", runs="orphaned")
    until(process, "round 5/40")
    (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(worker), signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and len(errors.splitlines()) == 1
    assert "a worker died (SIGKILL); the same command resumes the run" in errors
    folder = RunFolder(only_run(place / "orphaned"))
    assert folder.result is None and folder.metrics()[-1]["round"] < 40
    process = started(place, "--workers", "3", runs="orphaned")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0 and errors == ""
    assert comparable(folder.path) == comparable(only_run(place / "whole"))


def test_a_time_budget_stops_cleanly(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    more = ["--budget", "0.5s", "--set", "train.rounds=100000"]
    assert main([*arguments("budget"), *more]) == 0
    shown = capsys.readouterr()
    assert "time budget spent" in shown.out and "Go on with" in shown.out and shown.err == ""
    folder = only_run(place / "budget")
    assert not (folder / RESULT).exists() and list((folder / CHECKPOINT).glob("manifest-*.json"))


def test_a_finished_run_is_skipped(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing in its folder changes, but for a checkpoint that a kill just after the result left behind."""
    monkeypatch.chdir(place)
    folder = only_run(place / "whole")

    def files() -> dict[str, tuple[int, bytes]]:
        return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}

    before = files()
    (folder / CHECKPOINT).mkdir()
    assert main(arguments("whole")) == 0
    assert "round 1" not in capsys.readouterr().out
    assert files() == before
