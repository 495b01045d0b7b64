"""Many runs at once: `--jobs` and Ray. The same bits, shared starts made once, interrupted and killed."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from problems import class_shards
from rich.console import Console
from tiny import TOML, comparable

from selffl_cli import __version__
from selffl_cli.cli.main import main
from selffl_cli.cli.runs_table import RunsBoard
from selffl_cli.config.experiment import load_experiment
from selffl_cli.launchers.elsewhere import train_described
from selffl_cli.launchers.one import Stop
from selffl_cli.launchers.queue import Ending, Queue, choose_jobs
from selffl_cli.launchers.ray import GREETING, SETTINGS, greet
from selffl_cli.planning.plan import PlannedRun, Request, plan
from selffl_cli.runs.folder import CHECKPOINT, METRICS, RESULT, RunFolder

pytestmark = pytest.mark.timeout(900)
WARM = TOML.replace("rounds = 40", "rounds = 8") + '[warm_start]\nmethod = "fedavg"\nrounds = 3\n[methods.local]\n'
TRAIN = ["train", "warm.toml", "--data", "./blobs", "--seeds", "0,1", "--checkpoint-seconds", "0"]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two experiments, their shards, and the runs of `warm` made one after another, in `alone`."""
    folder = tmp_path_factory.mktemp("place")
    class_shards(folder / "blobs", clients=7)
    (folder / "tiny.toml").write_text(TOML)
    (folder / "warm.toml").write_text(WARM)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*TRAIN, "--runs", "alone", "--jobs", "1"]) == 0
    return folder


def started(place: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "selffl_cli", *arguments], cwd=place, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip


def wait_for(condition, seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def lines(folder: Path) -> int:
    return len((folder / METRICS).read_bytes().splitlines()) if (folder / METRICS).exists() else 0


def assert_equal(place: Path, runs: str) -> None:
    folders = sorted((place / "alone/tiny").glob("*-*"))
    assert len(folders) == 8  # two seeds of a shared start and three methods
    assert [folder.name for folder in folders] == [
        folder.name for folder in sorted((place / runs / "tiny").glob("*-*"))
    ]
    for folder in folders:
        assert comparable(folder) == comparable(place / runs / "tiny" / folder.name), folder.name


def test_runs_at_once_give_the_same_bits_and_one_line_each(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    assert main([*TRAIN, "--runs", "jobs", "--jobs", "3", "--workers", "2"]) == 0
    shown = capfd.readouterr()
    assert "round 1/" not in shown.out and len(re.findall(r" done in .*\(\d/8\)", shown.out)) == 8 and shown.err == ""
    assert "6 processes on" in shown.out  # more than this machine has, unless it is a large one
    assert_equal(place, "jobs")


def test_interrupted_runs_at_once_resume(place: Path) -> None:
    long = [*TRAIN, "--set", "train.rounds=4000", "--runs", "stopped", "--jobs", "2", "-m", "local", "-m", "fedavg"]
    process = started(place, *long)
    wait_for(lambda: sum(lines(path) > 5 for path in (place / "stopped/tiny").glob("*-[lf]*")) >= 2)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 130 and "everything so far is saved" in output
    assert len(errors.splitlines()) == 1 and errors.startswith("stopping at the end of this round")
    broken = [path for path in (place / "stopped/tiny").glob("*-*") if not (path / RESULT).exists()]
    assert len(broken) == 2, "two at once"
    for path in broken:
        last = RunFolder(path).metrics()[-1]["round"]
        assert list((path / CHECKPOINT).glob(f"manifest-{last:07d}*")), "each saved the round it had done"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends a process with its parent")
def test_when_the_parent_is_killed_its_runs_end_too_and_go_on_later(place: Path) -> None:
    process = started(place, *TRAIN, "--runs", "killed", "--jobs", "2")
    wait_for(lambda: any((place / "killed/tiny").glob("*-[lfa]*/metrics.jsonl")))
    process.kill()
    process.wait(timeout=60)
    again = started(place, *TRAIN, "--runs", "killed", "--jobs", "2")
    _, errors = again.communicate(timeout=600)
    assert again.returncode == 0 and errors == ""
    assert_equal(place, "killed")


class Scripted:
    """A launcher that trains nothing: each start's ending is told in advance, by label."""

    waits = True

    def __init__(self, endings: dict[str, Ending], slots: int) -> None:
        self.endings, self.slots, self.log, self.running = endings, slots, list[str](), list[PlannedRun]()

    def free(self) -> int:
        return self.slots - len(self.running)

    def start(self, run: PlannedRun) -> None:
        self.log.append(f"{run.config.label} {run.config.seed}")
        self.running.append(run)

    def ended(self) -> list[tuple[PlannedRun, Ending]]:
        if not self.running:
            return []
        run = self.running.pop()  # the last one first: starts must not depend on the order of endings
        return [(run, self.endings.get(run.config.label, Ending("finished")))]

    def stop(self) -> None: ...

    def close(self) -> None:
        self.log.append("closed")


def planned(place: Path, runs: str) -> list[PlannedRun]:
    experiment = load_experiment(str(place / "warm.toml"))
    return plan(Request(experiment, seeds=[0, 1], data=place / "blobs", runs=place / runs))


def test_a_shared_start_is_made_once_and_before_the_runs_that_need_it(place: Path) -> None:
    runs = planned(place, "scripted")
    launcher = Scripted({}, slots=3)
    outcome = Queue([*runs, *runs], launcher, RunsBoard(Console(file=io.StringIO()), runs), Stop()).run()
    assert sorted(launcher.log[:-1]) == sorted(f"{run.config.label} {run.config.seed}" for run in runs)
    assert len(outcome.done) == 8 and launcher.log[:2] == ["warm-start 0", "warm-start 1"]


def test_failed_and_diverged_runs_are_reported_and_the_others_go_on(place: Path) -> None:
    runs, file = planned(place, "scripted"), io.StringIO()
    launcher = Scripted({"local": Ending("failed", "no room"), "fedavg": Ending("diverged", "not finite")}, slots=2)
    outcome = Queue(runs, launcher, RunsBoard(Console(file=file, width=120), runs), Stop()).run()
    assert len(outcome.done) == 4 and len(outcome.diverged) == 2
    assert [why for _, why in outcome.failed] == ["no room", "no room"]
    assert "local seed 0  failed no room" in file.getvalue() and "fedavg seed 1  diverged not finite" in file.getvalue()
    launcher = Scripted({"warm-start": Ending("failed", "no room")}, slots=2)
    outcome = Queue(runs, launcher, RunsBoard(Console(file=file), runs), Stop()).run()
    assert len(outcome.failed) == 8 and launcher.log == ["warm-start 0", "warm-start 1", "closed"]


def test_the_live_table_shows_running_ended_and_waiting_runs(place: Path) -> None:
    runs, file = planned(place, "alone"), io.StringIO()
    board = RunsBoard(Console(file=file, force_terminal=True, width=100, height=20), runs)
    board.end(runs[0], Ending("diverged", "not finite"), skipped=False)
    table = board._table(runs[5:], runs[1:5])
    Console(file=file, width=100).print(table)
    shown = file.getvalue()
    assert "8/8" in shown and "diverged" in shown and "waiting" in shown
    assert "1 of 8 ended, 4 running, 3 waiting" in shown


def test_a_run_that_fails_is_one_line_and_exit_code_1(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    folder = next(path for path in (place / "alone/tiny").iterdir() if "local-s0" in path.name).name
    (place / "blocked/tiny").mkdir(parents=True)
    (place / "blocked/tiny" / folder).write_text("a file where the run's folder should be")
    assert main([*TRAIN, "--runs", "blocked", "--jobs", "2"]) == 1
    shown = capfd.readouterr()
    assert len(shown.err.splitlines()) == 1 and f"{folder} failed: " in shown.err
    assert len(list((place / "blocked/tiny").glob(f"*/{RESULT}"))) == 7


def test_how_many_at_once(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = planned(place, "none")
    monkeypatch.setattr("selffl_cli.launchers.queue.available_cores", lambda: 6)
    monkeypatch.setattr("selffl_cli.launchers.queue.free_memory", lambda: 100 * 2**30)
    assert choose_jobs(None, None, runs, "cpu") == 6 and choose_jobs(None, None, runs[:3], "cpu") == 3
    assert choose_jobs(None, 3, runs, "cpu") == 2 and choose_jobs(None, None, runs, "cuda") == 1
    assert choose_jobs(8, 1, runs, "cpu") == 8 and choose_jobs(2, None, runs[:1], "cpu") == 1
    assert choose_jobs(None, None, [], "cpu") == 1
    monkeypatch.setattr("selffl_cli.launchers.queue.free_memory", lambda: 2.5 * 2**30)
    assert choose_jobs(None, None, runs, "cpu") == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--address", "auto"], "belong to --launcher ray"),
        (["--launcher", "ray", "--jobs", "2"], "leave --jobs and --workers"),
        (["--launcher", "ray", "--address", "nonsense"], "write HOST:PORT"),
    ],
)
def test_launcher_options_that_do_not_fit_are_bad_usage(
    arguments: list[str], says: str, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "nonsense" in arguments:
        pytest.importorskip("ray", reason="needs ray: pip install 'selffl[ray]'")
    monkeypatch.chdir(place)
    assert main([*TRAIN, "--runs", "refused", *arguments]) == 2
    assert says in capsys.readouterr().err and not (place / "refused").exists()


# Ray itself: optional, and not in CI


@pytest.fixture
def ray_free_port() -> Iterator[int]:
    pytest.importorskip("ray", reason="needs ray: pip install 'selffl[ray]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        yield free.getsockname()[1]


def test_a_ray_that_does_not_answer_is_one_line(
    ray_free_port: int, place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    begun = time.monotonic()
    assert main([*TRAIN, "--runs", "ray", "--launcher", "ray", "--address", f"127.0.0.1:{ray_free_port}"]) == 1
    shown = capsys.readouterr().err
    assert "no Ray answers there" in shown and "ray start --head" in shown and len(shown.splitlines()) == 1
    assert time.monotonic() - begun < 60


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", None])
def test_something_that_is_no_ray_is_told_apart_in_seconds(answer: bytes | None, monkeypatch) -> None:
    """It closes the connection, answers in another protocol, or never: Ray would wait for minutes."""
    monkeypatch.setattr("selffl_cli.launchers.ray.ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                assert connection.recv(100) == GREETING
                if answer is None:
                    connection.recv(1)  # until the other side gives up
                else:
                    connection.sendall(answer)

        other = threading.Thread(target=serve)
        other.start()
        with pytest.raises(OSError, match="timed out" if answer is None else "no Ray"):
            greet(*server.getsockname())
        other.join(10)
        assert not other.is_alive()


def test_something_that_speaks_as_ray_does_is_greeted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(bytes([0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]))
                connection.recv(100)

        other = threading.Thread(target=serve)
        other.start()
        greet(*server.getsockname())
        other.join(10)


def test_a_run_on_a_node_whose_torch_sees_no_gpu_fails_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    job = {"controls": {"device": "cuda"}, "versions": [__version__, torch.__version__]}
    ending = json.loads(train_described(json.dumps(job)))
    assert ending["status"] == "failed" and "this node's torch sees none" in ending["message"]


@pytest.mark.skipif("SELFFL_RAY" not in os.environ, reason="slow, on a Ray of this machine: run with SELFFL_RAY=1")
def test_runs_on_ray_give_the_same_bits_also_when_a_worker_was_killed(place: Path, ray_free_port: int) -> None:
    process = started(place, *TRAIN, "--runs", "ray", "--launcher", "ray")

    def owner() -> int:
        for lock in (place / "ray/tiny").glob("*-[lfa]*/lock"):
            if lock.read_text() and not (lock.parent / RESULT).exists():
                return int(lock.read_text())
        return 0

    wait_for(lambda: owner() != 0)
    os.kill(owner(), signal.SIGKILL)
    output, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert len(re.findall(r" done in .*\(\d/8\)", output)) == 8
    assert_equal(place, "ray")
