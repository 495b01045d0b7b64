"""A full disk, folders that cannot be written, no file handles left: one line, nothing half left, and it goes on later.

Every command is a process of its own, forked, so that its limits are its own.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tiny import arguments, comparable, make_place, only_run

from data_prep.prepare import prepare
from selffl_cli.cli.main import main
from selffl_cli.files.locks import alone
from selffl_cli.runs.folder import RESULT
from selffl_cli.shards import Shards

pytestmark = pytest.mark.usefixtures("any_run_is_stated")

SHORT = ["--rounds", "4", "--workers", "1"]
NOBODY = 65534


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """Not below pytest's own folder, which the user that a test becomes may not enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield make_place(Path(folder), SHORT)


@contextmanager
def forked(words: list[str], inside: Path, prepared: Callable[[], object], said: Path) -> Iterator[int]:
    """`selffl WORDS` in a forked process that calls `prepared` first; its process id."""
    said.write_text("")
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.chdir(inside)
            handle = os.open(said, os.O_WRONLY | os.O_APPEND)
            for stream in (1, 2):
                os.dup2(handle, stream)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
            sys.argv = ["selffl", *words]
            prepared()
            code = main(words)
            sys.stdout.flush()
        finally:
            os._exit(code)
    yield child


def ended(words: list[str], inside: Path, prepared: Callable[[], object], said: Path) -> tuple[int, str]:
    """Its exit code, and its errors and warnings."""
    with forked(words, inside, prepared, said) as child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, said.read_text()


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def one_line(said: str, *words: str) -> None:
    errors = said[said.index("error:") :]
    assert errors.count("\n") == 1 and "Traceback" not in said, said
    assert any(word.lower() in errors.lower() for word in words), said


def files_of(limit: int) -> Callable[[], object]:
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def handles(limit: int) -> Callable[[], object]:
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))


@pytest.mark.parametrize("limit", [200, 1000, 3000, 5000])
def test_training_on_a_full_disk_goes_on_later(limit: int, place: Path, tmp_path: Path) -> None:
    """No file grows beyond the limit, so that each kind of file is once the one that fails."""
    runs = tmp_path / "runs"
    code, said = ended([*arguments(str(runs)), *SHORT], place, files_of(limit), tmp_path / "said")
    assert code == 1
    one_line(said, "too large")
    assert not list(runs.rglob("*.part")) and not list(runs.rglob(RESULT))
    assert main_in(place, [*arguments(str(runs)), *SHORT]) == 0
    assert comparable(only_run(runs)) == comparable(only_run(place / "whole"))
    assert names(only_run(runs)) == names(only_run(place / "whole"))


def main_in(place: Path, words: list[str]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return main(words)


@pytest.mark.parametrize("limit", [600, 2000])
def test_preparing_on_a_full_disk_leaves_nothing(limit: int, tmp_path: Path) -> None:
    words = ["prepare", "gaussian", "--clients", "50", "--data", str(tmp_path / "data")]
    code, said = ended(words, tmp_path, files_of(limit), tmp_path / "said")
    assert code == 1
    one_line(said, "File too large")
    assert not (tmp_path / "data").exists() or names(tmp_path / "data") == set()
    assert main(words) == 0
    (folder,) = (tmp_path / "data").iterdir()
    Shards.open(folder)


def test_a_report_on_a_full_disk_leaves_the_old_one(place: Path, tmp_path: Path) -> None:
    words = ["report", "tiny.toml", "--runs", "whole", "--out", str(tmp_path / "results")]
    assert main_in(place, words) == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "results" / "tiny").iterdir()}
    code, said = ended([*words, "--x", "seconds"], place, files_of(6000), tmp_path / "said")
    assert code == 1
    one_line(said, "too large")
    assert {path.name: path.read_bytes() for path in (tmp_path / "results" / "tiny").iterdir()} == before
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"tiny", "index.html"}


def test_without_file_handles_it_goes_on_later(place: Path, tmp_path: Path) -> None:
    open_now = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").is_dir() else 20
    runs = tmp_path / "runs"
    for limit in (open_now + 1, open_now + 3):
        code, said = ended([*arguments(str(runs)), *SHORT], place, handles(limit), tmp_path / "said")
        assert code in (0, 1) and "Traceback" not in said, said
        if code:
            assert said.count("error:") == 1
    assert main_in(place, [*arguments(str(runs)), *SHORT]) == 0
    assert comparable(only_run(runs)) == comparable(only_run(place / "whole"))


def become_nobody() -> None:
    os.environ["SELFFL_CACHE"] = "/nonexistent"  # its own home, not root's
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(
    "words",
    [
        [*arguments("locked/runs"), *SHORT],
        ["prepare", "gaussian", "--clients", "3", "--data", "locked/data"],
        ["report", "tiny.toml", "--runs", "whole", "--out", "locked/results"],
        ["eval", "whole/tiny", "--csv", "locked/table.csv"],
    ],
    ids=["train", "prepare", "report", "eval"],
)
def test_permission_denied_is_one_line(words: list[str], place: Path, tmp_path: Path) -> None:
    (place / "locked").mkdir(exist_ok=True)
    (place / "locked").chmod(0o555)
    words = [str(only_run(place / "whole")) if word == "whole/tiny" else word for word in words]
    # once where it may write, so that all modules are at hand: nobody may not be able to read Python's own
    (place / f"free-{words[0]}").mkdir()
    assert main_in(place, [word.replace("locked", f"free-{words[0]}") for word in words]) == 0
    said = tmp_path / "said"
    said.touch()
    code, text = ended(words, place, become_nobody, said)
    assert code == 1, text
    one_line(text, "permission denied")
    assert names(place / "locked") == set()


def test_a_finished_experiment_on_a_read_only_disk_is_shown(place: Path, tmp_path: Path) -> None:
    """Nothing is to be done, so nothing is written."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    code, text = ended([*arguments("whole"), *SHORT], place, become_nobody, tmp_path / "said")
    assert code == 0, text


# two at once; of `train`, see test_two_at_once.py


def test_the_second_process_that_prepares_waits(place: Path, tmp_path: Path) -> None:
    """It says for whom, then finds the work done; a lock that a killed process left is taken over."""
    from data_prep.prepare import request

    words = ["prepare", "gaussian", "--clients", "3", "--data", str(tmp_path / "data")]
    asked = request("gaussian", {"clients": 3}, tmp_path / "data")
    # a new interpreter: a fork would hold this process's lock too
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with asked.alone(), open(tmp_path / "said", "w") as said:
        command = [sys.executable, "-m", "selffl_cli", *words]
        second = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
        wait_for(tmp_path / "said", f"waiting for process {os.getpid()}")
        asked.make()
    assert second.wait(timeout=250) == 0
    assert "is prepared already" in (tmp_path / "said").read_text()
    lock = tmp_path / "data" / f".{asked.folder.name}.lock"
    lock.write_text("999999")
    assert main([*words, "--force"]) == 0
    assert [path.name for path in (tmp_path / "data").iterdir()] == [asked.folder.name]
    Shards.open(asked.folder)


def test_two_that_prepare_by_force_leave_one_whole_folder(tmp_path: Path) -> None:
    words = ["prepare", "gaussian", "--clients", "3", "--data", str(tmp_path / "data"), "--force"]
    with forked(words, tmp_path, lambda: None, tmp_path / "one") as one:
        code, said = ended(words, tmp_path, lambda: None, tmp_path / "two")
        assert code == 0, said
        assert os.waitpid(one, 0)[1] == 0, (tmp_path / "one").read_text()
    (folder,) = (tmp_path / "data").iterdir()
    Shards.open(folder)


def wait_for(said: Path, words: str, patience: float = 250.0) -> None:
    deadline = time.monotonic() + patience
    while words not in said.read_text():
        assert time.monotonic() < deadline, f"never said '{words}': {said.read_text()}"
        time.sleep(0.01)


def test_what_a_killed_prepare_left_beside_a_whole_folder_goes(tmp_path: Path) -> None:
    folder = prepare("gaussian", {"clients": 3}, tmp_path)
    lock, old = tmp_path / f".{folder.name}.lock", tmp_path / f".{folder.name}.1-2.old.tmp"

    def leave() -> None:
        lock.write_text("1")
        old.mkdir(exist_ok=True)

    leave()
    prepare("gaussian", {"clients": 3}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    with alone(lock):  # somebody is at work
        leave()
        assert prepare("gaussian", {"clients": 3}, tmp_path) == folder
        assert lock.exists() and old.exists()
