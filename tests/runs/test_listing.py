"""What is known of runs from their folders alone: the list of `selffl ls`."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from run_folders import curve, write_run

from selffl_cli.cli.ls import MAIN, Look, lines
from selffl_cli.cli.main import main
from selffl_cli.metrics import judged_by
from selffl_cli.runs.folder import METRICS, RECORD, RESULT, RunFolder
from selffl_cli.runs.listing import describe, find

HOLD = (
    "import sys; from pathlib import Path; from selffl_cli.runs.folder import RunFolder\n"
    "with RunFolder(Path(sys.argv[1])).locked():\n print('held', flush=True); sys.stdin.read()"
)


@contextmanager
def held(folder: Path) -> Iterator[int]:
    """Another process holds the run's lock."""
    words = [sys.executable, "-c", HOLD, str(folder)]
    holder = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ)
    assert holder.stdin is not None and holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        yield holder.pid
    finally:
        holder.stdin.close()
        holder.wait()


def sealed(root: Path, label: str = "fedavg", seed: int = 0, **options) -> Path:
    """A run whose result has its seal, as `selffl train` writes it."""
    path = write_run(root, label, seed, curve(0.9), **options)
    if (path / RESULT).exists():
        RunFolder(path).write_result(json.loads((path / RESULT).read_text()))
    return path


def test_the_state_is_that_of_the_lock(tmp_path: Path) -> None:
    path = sealed(tmp_path, status="")
    assert describe(path)["state"] == "stopped"
    with held(path) as process:
        row = describe(path)
        assert (row["state"], row["process"], row["round"], row["rounds"]) == ("running", str(process), 20, 20)
        assert row["figures"]["global"]["accuracy"] == pytest.approx(0.9)  # of the last evaluation
    assert describe(path)["state"] == "stopped"


def test_time_left_is_told_of_running_runs_alone(tmp_path: Path) -> None:
    path = sealed(tmp_path, status="")
    whole = (path / METRICS).read_text().splitlines(keepends=True)
    (path / METRICS).write_text("".join(whole[:11]))  # ten rounds of 0.5 s each
    assert describe(path)["seconds_left"] is None
    with held(path):
        assert describe(path)["seconds_left"] == pytest.approx(5.0, abs=0.51)
        os.utime(path / METRICS, (0, time.time() - 1000))  # a round that takes long costs no more than itself
        assert describe(path)["seconds_left"] == pytest.approx(4.5)


def test_the_quick_look_says_what_the_full_one_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [
        sealed(tmp_path),
        sealed(tmp_path, seed=1, setting={"data.clients": 50, "train.learning_rate": 0.1}),
        sealed(tmp_path, seed=2, status="diverged"),
        sealed(tmp_path, seed=3, train={"rounds": 20, "privacy": "user:noise=1", "sampler": "poisson:q=0.5"}),
    ]
    quick = [describe(path) for path in paths]
    assert [row["state"] for row in quick] == ["finished", "finished", "diverged", "finished"]
    monkeypatch.setattr("selffl_cli.runs.listing._quick_result", lambda path: None)
    full = [describe(path) for path in paths]
    assert full == quick


def test_a_finished_run_is_read_at_a_glance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sealed(tmp_path)
    monkeypatch.setattr("selffl_cli.runs.listing._describe_in_full", None)  # would be called, and fail
    assert describe(path)["state"] == "finished"


@pytest.mark.parametrize("name", [RECORD, RESULT])
@pytest.mark.parametrize("content", [b"", b"= 3", b"{}", b"\xff\xfe", b"[1]", b'{"status": "finished"}'])
def test_damage_is_named_and_the_list_goes_on(tmp_path: Path, name: str, content: bytes) -> None:
    whole, broken = sealed(tmp_path), sealed(tmp_path, seed=1)
    (broken / name).write_bytes(content)
    rows = [describe(path) for path in find(tmp_path)]
    assert [row["state"] for row in rows] == ["finished", "damaged"]
    assert name in rows[1]["why"] and rows[0]["path"] == str(whole)


def test_changed_figures_are_damage(tmp_path: Path) -> None:
    path = sealed(tmp_path)
    (path / RESULT).write_text((path / RESULT).read_text().replace("0.9", "0.8"))
    assert describe(path)["state"] == "damaged"


def test_runs_are_found_from_each_level(tmp_path: Path) -> None:
    one = sealed(tmp_path)
    other = sealed(tmp_path, experiment="other")
    trial = sealed(tmp_path, experiment="other/tuning")
    assert find(tmp_path) == [one, other]
    assert find(tmp_path, ["other"], trials=True) == [other, trial]
    assert find(tmp_path / "made") == find(one) == [one]
    assert find(tmp_path / "nothing") == []


def test_the_list_fits_narrow_terminals(tmp_path: Path) -> None:
    sealed(tmp_path, "actperfl", setting={"train.learning_rate": 0.123})
    rows = Look([tmp_path], Path("runs"), False).rows()
    wide, narrow = lines(rows, 100), lines(rows, 60)
    assert all(len(text) <= 60 for text, _ in narrow) and len(narrow) == len(wide) + 1
    assert "90.0%" in narrow[-2][0]
    assert wide[-1][0] == "1 run: 1 finished"


def test_names_of_records_cannot_move_the_cursor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = sealed(tmp_path)
    text = (path / RECORD).read_text().replace('label = "fedavg"', 'label = "a\\u001b[2Jb"')
    (path / RECORD).write_text(text)
    (path / RESULT).unlink()
    assert main(["ls", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "\x1b[2J" not in out and "\\x1b[2J" in out


@contextmanager
def watching(folder: Path, **streams: Any) -> Iterator[subprocess.Popen[str]]:
    """`selffl ls --watch`, interrupted at the end; where the tests ignore Ctrl-C, as a job of a shell does, too."""
    watcher = subprocess.Popen(
        [sys.executable, "-m", "selffl_cli", "ls", "--watch", str(folder)], text=True, **streams,
        env={**os.environ, "TERM": "xterm"}, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )  # fmt: skip
    try:
        yield watcher
        watcher.send_signal(signal.SIGINT)
        assert watcher.wait(20) == 130
    finally:
        watcher.kill()


def test_watch_repaints_until_it_is_interrupted(tmp_path: Path) -> None:
    """In a terminal of its own, as a person has it; and elsewhere a line for each change."""
    path = sealed(tmp_path, status="")
    mine, theirs = pty.openpty()
    with held(path), watching(tmp_path, stdin=theirs, stdout=theirs, stderr=theirs):
        seen = read_until(mine, "1 running")
    assert "Traceback" not in seen and "20/20" in seen
    with watching(tmp_path, stdout=subprocess.PIPE) as plain:
        assert plain.stdout is not None
        assert plain.stdout.readline().split()[:5] == ["made", "fedavg", "seed", "0", "stopped"]
        with held(path):
            assert plain.stdout.readline().split()[:5] == ["made", "fedavg", "seed", "0", "running"]


def read_until(terminal: int, word: str) -> str:
    seen = ""
    until = time.monotonic() + 60
    while word not in seen and time.monotonic() < until:
        if select.select([terminal], [], [], 1)[0]:
            seen += os.read(terminal, 65536).decode(errors="replace")
    assert word in seen
    return seen


def test_the_main_metrics_are_those_of_the_tasks() -> None:
    assert [(metric.name, metric.percent) for metric in judged_by.MAIN] == [(n, n == "accuracy") for n in MAIN]


def test_a_thousand_runs_are_listed_without_rich_or_numpy(tmp_path: Path) -> None:
    """What the list costs is reading the folders: nothing heavy is imported for it."""
    first = sealed(tmp_path)
    for number in range(20):
        shutil.copytree(first, first.with_name(f"copy-{number}"))
    program = (
        "import sys; from selffl_cli.cli.main import main\n"
        f"main(['ls', {str(tmp_path)!r}])\n"
        "print(sorted({'numpy', 'torch', 'pandas', 'rich.table'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-2:] == ["21 runs: 21 finished", "[]"]
