"""Data sets by name, and where what they read comes from."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from selffl_cli.errors import UsageError, nearest
from selffl_cli.shards import sha256

from .. import DATASETS
from .tree import files

Stage = Callable[[str], None]  # told what is being done


def silent(stage: str) -> None:
    """For callers that show no progress."""


def dataset(name: str) -> ModuleType:
    """The module of a data set: `Options`, `load(options, source)`, and where it has them

    `SOURCE` (what its --source is, in words; without it the data set takes none), `SOURCE_URL` and
    `SOURCE_SHA256` (the official download, or one of the named sources, for a --source left out),
    `NAMED_SOURCES` (words that stand for another way to get it, each with a function of `stage` that gives
    the path),
    `finish(pool, assignment, options)` (what needs the split to be known, such as a vocabulary),
    `preview(options, source, stage)` (what is made for a person beside the shards, whether or not they are
    there), `describe(options, source)` (what was understood of the source, a line each) and `EXAMPLES` (commands
    for its help). A `load` with a parameter `stage` tells of its progress.
    """
    if name not in DATASETS:
        raise UsageError(f"unknown data set '{name}'{nearest(name, DATASETS)}")
    return importlib.import_module(DATASETS[name][0])


def local_source(name: str, source: Path | str | None, stage: Stage) -> Path | None:
    """The source as a file or folder on this machine, downloaded where it is an address."""
    module = dataset(name)
    takes: str | None = getattr(module, "SOURCE", None)
    official: str | None = getattr(module, "SOURCE_URL", None)
    named: dict[str, Callable[[Stage], Path]] = getattr(module, "NAMED_SOURCES", {})
    if takes is None:
        if source is not None:
            raise UsageError(f"{name} takes no --source; leave it out")
        return None
    if source is None:
        source = official
    if source is None:
        raise UsageError(f"{name} needs --source: {takes}")
    if str(source) in named:
        return named[str(source)](stage)
    if "://" in str(source):
        from .download import fetch

        address = str(source)
        digest = getattr(module, "SOURCE_SHA256", None) if address == official else None

        def report(have: int, total: int | None) -> None:
            stage(f"downloading, {have / 1e6:.0f}{f' of {total / 1e6:.0f}' if total else ''} MB")

        return fetch(address, digest, progress=report)
    path = Path(source)
    if not (path.is_file() or path.is_dir()):
        what = "is a pipe or a device, and is read more than once" if path.exists() else "no such file or folder"
        raise UsageError(f"--source {source}: {what}; give {takes}")
    return path


def digest_source(path: Path) -> str:
    """sha256 of a file, or over the names and sha256 of the files of a folder."""
    if path.is_file():
        return sha256(path)
    digest = hashlib.sha256()
    for file in files(path):
        name = os.fsencode(file.relative_to(path).as_posix())  # names need not be UTF-8
        digest.update(name + f"\0{sha256(file)}\n".encode())
    return digest.hexdigest()
