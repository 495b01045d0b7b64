"""Data sets by name, and where what they read comes from."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from selffl_cli.errors import UsageError
from selffl_cli.shards import sha256

from .. import DATASETS
from ..dataset import DataSet, Stage
from ..dealing.pool import PrepareOptions
from .tree import files


def silent(stage: str) -> None:
    """For callers that show no progress."""


def dataset(name: str) -> DataSet:
    """The data set of a name, or of a file of one's own; UsageError for what is none."""
    cls = DATASETS[name]
    if not issubclass(cls.options_type, PrepareOptions):
        raise UsageError(f"data set '{name}': options_type does not derive from selffl.DataOptions")
    return cls()


def local_source(name: str, source: Path | str | None, stage: Stage) -> Path | None:
    """The source as a file or folder on this machine, downloaded where it is an address."""
    data = dataset(name)
    takes, official, named = data.source, data.source_url, data.named_sources
    if not takes:
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
        digest = data.source_sha256 if address == official else None

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
