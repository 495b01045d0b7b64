"""A run that was killed, stopped or damaged ends with the numbers of one that never was, to the bit."""

from __future__ import annotations

import errno
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from problems import class_shards, training
from tiny import comparable

from selffl_cli.errors import SelfflError
from selffl_cli.files import atomic as files
from selffl_cli.methods import METHODS
from selffl_cli.runs import rowlog
from selffl_cli.runs.checkpoint import Checkpoints
from selffl_cli.runs.folder import CHECKPOINT, METRICS, RunFolder
from selffl_cli.shards import Shards
from selffl_cli.training.loop import Controls, Stopped

OPTIONS: dict[str, Any] = {"participation": 0.6, "batch_size": 5, "dtype": "float32", "eval_every": 2}
ROUNDS = 4


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    return class_shards(tmp_path_factory.mktemp("shards") / "blobs", clients=7)


def train(
    folder: Path, shards: Shards, method: str = "actperfl", rounds: int = ROUNDS, **controls: Any
) -> dict[str, Any]:
    settings = Controls(keep="personal", checkpoint_seconds=0, **controls)
    options = {"intra": "across-rounds"} if method == "actperfl" else {}
    return training(folder, shards, method, options, controls=settings, rounds=rounds, **OPTIONS).run()


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking git for the commit takes longer than these runs."""

    def describe(device: str, workers: int, engine: str) -> dict[str, Any]:
        return {"device": device, "workers": workers, "engine": engine}

    monkeypatch.setattr("selffl_cli.training.loop.describe", describe)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, shards: Shards) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    train(folder, shards)
    return folder


def in_a_child(program: Callable[[], Any]) -> int:
    """Run `program` in a forked process: 0, the exit code, or minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        try:
            program()
            os._exit(0)
        except BaseException:
            os._exit(1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(event: int, program: Callable[[], Any]) -> bool:
    """Run `program` in a process that kill -9 ends just before its `event`th write to disk is made to last.

    Events are every fsync, every rename, every removal: between two of them a kill finds the same files.
    """

    def counted() -> None:
        left = event
        for name in ("fsync", "replace", "unlink"):
            real = getattr(os, name)

            def call(*arguments: Any, real: Callable[..., Any] = real, **more: Any) -> Any:
                nonlocal left
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*arguments, **more)

            setattr(os, name, call)
        program()

    code = in_a_child(counted)
    assert code in (0, -signal.SIGKILL)
    return code != 0


def test_killed_at_every_write_then_run_again(tmp_path: Path, shards: Shards) -> None:
    whole, event = tmp_path / "whole", 1
    train(whole, shards, rounds=2)
    while killed_at(event, lambda: train(tmp_path / f"{event}", shards, rounds=2)):  # noqa: B023 - called at once
        folder = tmp_path / f"{event}"
        finished = RunFolder(folder).result is not None
        train(folder, shards, rounds=2)
        assert comparable(folder) == comparable(whole), f"killed at write {event}"
        left = {path.name for path in folder.iterdir()} - {path.name for path in whole.iterdir()}
        assert left == set() or (finished and left == {CHECKPOINT}), f"killed at write {event}"
        event += 1
    assert event > 30


@pytest.mark.parametrize("every", [3, 13, 17, 23])
def test_killed_again_and_again(tmp_path: Path, shards: Shards, undisturbed: Path, every: int) -> None:
    folder, kills = tmp_path / "run", 0
    while killed_at(every, lambda: train(folder, shards)):
        kills += 1
        if kills == 12:  # an interval too short for one round: time to let it end
            train(folder, shards)
    assert kills > 1
    assert comparable(folder) == comparable(undisturbed)


@pytest.mark.parametrize(
    ("method", "workers"),
    [("fedavg", (1, 1)), ("fedavg", (1, 3)), *((name, (2, 1)) for name in METHODS if name != "oracle")],
)
def test_stopped_after_each_round_and_taken_up_by_others(
    method: str, workers: tuple[int, int], tmp_path: Path, shards: Shards
) -> None:
    """A stop at the end of every round, resumed with another number of workers."""
    train(tmp_path / "whole", shards, method)
    result, turn = None, 0
    while result is None:
        try:
            result = train(tmp_path / "parts", shards, method, workers=workers[turn % 2], should_stop=lambda: True)
        except Stopped:
            turn += 1
    assert turn == ROUNDS  # rounds 0 to 3 each ended in a stop
    assert comparable(tmp_path / "parts") == comparable(tmp_path / "whole")
    assert result["gradients"] == RunFolder(tmp_path / "whole").result["gradients"]  # type: ignore[index]


def stop_at(folder: Path, shards: Shards, round_: int) -> None:
    lines: list[int] = []
    with pytest.raises(Stopped):
        train(
            folder,
            shards,
            watch=lambda line: lines.append(line["round"]),
            should_stop=lambda: lines[-1] == round_,
        )


@pytest.mark.parametrize("kind", ["manifest", "server", "rows"])
@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "remove"])
def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    kind: str, harm: str, tmp_path: Path, shards: Shards, undisturbed: Path
) -> None:
    folder = tmp_path / "run"
    stop_at(folder, shards, 3)
    newest = sorted((folder / CHECKPOINT).glob(f"{kind}-*"))[-1]
    content, half = newest.read_bytes(), 0
    if kind == "rows":  # a log that both share: what the newest appended, or all of it
        before = json.loads(min((folder / CHECKPOINT).glob("manifest-*")).read_text())["rows"][0]["bytes"]
        half = (before + len(content)) // 2
        assert before < half < len(content) - 3
    else:
        assert "0000003" in newest.name
    if harm == "remove":
        newest.unlink()
    else:
        half = half or len(content) // 2
        changed = {
            "cut": content[:half],
            "flip": content[:half] + b"\x00?" + content[half + 2 :],
            "empty": b"",
        }
        newest.write_bytes(changed[harm])
    rounds: list[int] = []
    train(folder, shards, watch=lambda line: rounds.append(line["round"]))
    assert rounds == [0, 1, 2, 3, 4] if kind == "rows" and harm in ("empty", "remove") else [3, 4]
    assert comparable(folder) == comparable(undisturbed)


@pytest.mark.parametrize(
    ("reader", "error"),
    [("sha256", OSError(errno.EMFILE, "Too many open files")), ("load_file", RuntimeError("no map\nat line 3"))],
)
def test_a_machine_short_of_something_loses_no_checkpoint(
    reader: str, error: Exception, tmp_path: Path, shards: Shards, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkpoint that cannot be read now is no damaged one: it stays, and the run goes on from it later."""
    folder = tmp_path / "run"
    stop_at(folder, shards, 3)
    before = {path.name: path.read_bytes() for path in (folder / CHECKPOINT).iterdir()}

    def short(path: Path) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(f"selffl_cli.runs.checkpoint.{reader}", short)
        with pytest.raises(SelfflError, match=r"checkpoint: cannot be read now \(.*\); .* later$"):
            train(folder, shards)
    assert {path.name: path.read_bytes() for path in (folder / CHECKPOINT).iterdir()} == before
    rounds: list[int] = []
    train(folder, shards, watch=lambda line: rounds.append(line["round"]))
    assert rounds == [4]
    assert comparable(folder) == comparable(undisturbed)


def test_without_a_whole_checkpoint_it_starts_anew(tmp_path: Path, shards: Shards, undisturbed: Path) -> None:
    folder = tmp_path / "run"
    stop_at(folder, shards, 2)
    for manifest in (folder / CHECKPOINT).glob("manifest-*"):
        manifest.write_text("{}")
    rounds: list[int] = []
    train(folder, shards, watch=lambda line: rounds.append(line["round"]))
    assert rounds == [0, 1, 2, 3, 4]
    assert comparable(folder) == comparable(undisturbed)


def test_lines_after_the_checkpoint_are_cut_back(tmp_path: Path, shards: Shards, undisturbed: Path) -> None:
    folder = tmp_path / "run"
    stop_at(folder, shards, 2)
    with open(folder / METRICS, "ab") as file:
        file.write(b'{"round": 3, "steps": 1}\n{"round": 4, "st')  # a round not saved, and a torn line
    assert [line["round"] for line in RunFolder(folder).metrics()] == [0, 1, 2, 3]
    train(folder, shards)
    assert comparable(folder) == comparable(undisturbed)


def test_checkpoints_hold_what_changed_and_the_log_stays_short(
    tmp_path: Path, shards: Shards, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two are kept, in a log that grows by what each round touched."""
    monkeypatch.setattr(rowlog, "SLACK", 0)
    monkeypatch.setattr(rowlog, "SEGMENT", 1000)  # bytes: some records
    folder, sizes, kept = tmp_path / "run", [], []
    run = training(
        folder, shards, "actperfl", {"intra": "across-rounds"},
        controls=Controls(keep="personal", checkpoint_seconds=0), rounds=ROUNDS, **OPTIONS,
    )  # fmt: skip
    real = Checkpoints.save

    def save(self: Checkpoints, state: Any, touched: Any, *rest: Any) -> None:
        real(self, state, touched, *rest)
        assert self.log is not None
        assert self.log.bytes <= 2 * self.log.live_bytes and len(touched) in (0, 4)
        sizes.append(self.log.bytes)
        kept.append(sorted(path.name.partition("-")[0] for path in self.folder.iterdir()))
        assert set(self.log.segments) <= {int(path.name[5:12]) for path in self.folder.glob("rows-*")}
        assert self.log.live_bytes == int(state.clients.has("theta", torch.arange(7)).sum()) * self.log.record.itemsize

    monkeypatch.setattr(Checkpoints, "save", save)
    run.run()
    assert sizes[0] == 0 and sizes[1:] == [n * sizes[1] for n in (1, 2, 3)], "four clients a round"
    assert all(names.count("manifest") <= 2 and names.count("server") <= 2 for names in kept)
    assert comparable(folder) == comparable(undisturbed)


def test_the_lock_goes_with_its_process_though_workers_live_on(tmp_path: Path) -> None:
    """Ranks live on after kill -9 of rank 0 until they next talk to it; the folder is free at once."""
    read, write = os.pipe()

    def holder() -> None:
        with RunFolder(tmp_path / "run").locked():
            worker = os.fork()
            if worker == 0:
                time.sleep(60)
                os._exit(0)
            os.write(write, f"{worker}\n".encode())
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_child(holder) == -signal.SIGKILL
    worker = int(os.read(read, 32))
    try:
        os.kill(worker, 0)  # still there
        with RunFolder(tmp_path / "run").locked():
            pass
    finally:
        os.kill(worker, signal.SIGKILL)


def test_two_processes_on_one_run(tmp_path: Path, shards: Shards, undisturbed: Path) -> None:
    folder = tmp_path / "run"
    with RunFolder(folder).locked():
        before = sorted(path.name for path in folder.iterdir())

        def second() -> None:
            with pytest.raises(SelfflError, match=f"process {os.getppid()} works on this run"):
                train(folder, shards)

        assert in_a_child(second) == 0
        assert sorted(path.name for path in folder.iterdir()) == before, "the second one changed something"
    train(folder, shards)
    assert comparable(folder) == comparable(undisturbed)


def test_write_whole_leaves_the_old_file_when_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    files.write_whole(path, "old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write_whole(path, "new")
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["file"]
