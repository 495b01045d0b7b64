"""A file system that is full: one line, nothing half-written on it, and the same command goes on when there is room.

Each test has a small tmpfs of its own, which only root can mount; test_disk.py does the same by RLIMIT_FSIZE.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import arguments, comparable, make_place, only_run

from selffl_cli.cli.main import main
from selffl_cli.runs.folder import RESULT
from selffl_cli.shards import Shards

SIZE = 4 * 2**20
PAGE = os.sysconf("SC_PAGE_SIZE")  # what a file of one byte takes of a tmpfs
SHORT = ["--rounds", "4", "--workers", "1"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount command here")
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_place(tmp_path_factory.mktemp("place"), SHORT)


def free(disk: Path) -> int:
    """Pages that are left."""
    return os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize // PAGE


def fill(disk: Path, left: int) -> Path:
    """A file that leaves so many pages."""
    filler = disk / "filler"
    with open(filler, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, (free(disk) - left) * PAGE)
    assert free(disk) == left
    return filler


def refused(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    assert main(words) == 1
    errors = capfd.readouterr().err
    assert errors.count("\n") == 1 and errors.startswith("error: ") and "no space left" in errors.lower(), errors


@pytest.mark.parametrize("left", [0, 1, 3, 6])
def test_prepare(left: int, disk: Path, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["prepare", "gaussian", "--clients", "50", "--data", str(disk / "data")]
    filler = fill(disk, left)
    refused(words, capfd)
    assert [path for path in disk.rglob("*") if path != filler and path != disk / "data"] == []
    assert free(disk) == left
    filler.unlink()
    assert main(words) == 0
    (folder,) = (disk / "data").iterdir()
    Shards.open(folder)


@pytest.mark.parametrize("store", ["memory", "disk"])
@pytest.mark.parametrize("left", [0, 1, 3, 5, 8])
def test_train(
    left: int, store: str, disk: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    words = [*arguments(str(disk / "runs")), *SHORT, "--client-store", store]
    filler = fill(disk, left)
    refused(words, capfd)
    assert not list(disk.rglob("*.part")) and not list(disk.rglob(RESULT))
    filler.unlink()
    assert main(words) == 0
    run, whole = only_run(disk / "runs"), only_run(place / "whole")
    assert comparable(run) == comparable(whole)
    assert {path.name for path in run.iterdir()} == {path.name for path in whole.iterdir()}
