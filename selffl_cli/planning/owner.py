"""Which file a folder of runs or of results belongs to: two TOMLs of one name would mix theirs.

A folder of a shipped experiment under its own name says nothing. Every other one holds a small file with the path of
its TOML, relative to the folder, so that a project that moves as a whole stays as it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..config.inherit import experiment_names, experiment_path, experiments_folder, read_experiment
from ..errors import SelfflError, UsageError
from ..files.atomic import write_whole
from ..files.regular import read_regular
from ..runs.folder import RECORD, RunFolder

FILE = ".experiment.json"


def check_owner(experiment: str, folder: Path) -> None:
    """UsageError when `folder`, named by its experiment, belongs to another TOML that is still there.

    experiment: a shipped name or the path of a TOML. Two files that state the same are one experiment.
    """
    other, own = _owner(folder), experiment_path(experiment)
    if other is None or not other.is_file() or other.resolve() == own.resolve():
        return
    with suppress(UsageError):
        if read_experiment(other) == read_experiment(own):
            return
    raise UsageError(
        f"{own}: {folder} belongs to another experiment of this name, {_shown(other)}; give one of them a name of its "
        f'own (name = "{folder.name}-2" at the top of the file), or another folder'
    )


@contextmanager
def owned(experiment: str, folder: Path) -> Iterator[None]:
    """`take` the folder at the end of what is done in it, however that ends, where it has been made by then."""
    try:
        yield
    finally:
        if folder.is_dir():
            take(experiment, folder)


def take(experiment: str, folder: Path) -> None:
    """Write down that `folder` belongs to this experiment, where its name does not say so."""
    path = experiment_path(experiment).resolve()
    if _recorded(folder) == path:
        return  # also where nothing may be written
    shipped = path.parent == experiments_folder().resolve()
    if shipped and path.stem == folder.name and not (folder / FILE).exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    content = {"shipped": path.stem} if shipped else {"toml": os.path.relpath(path, folder.resolve())}
    write_whole(folder / FILE, json.dumps(content) + "\n")


def _owner(folder: Path) -> Path | None:
    """The TOML that the folder belongs to; None where nothing says so, or nothing is in it yet."""
    recorded = _recorded(folder)
    if recorded is not None or folder.name not in experiment_names() or not folder.is_dir():
        return recorded
    runs = [RunFolder(path.parent) for path in folder.glob(f"*/{RECORD}")]
    own = (folder / "README.md").exists() or any(not _by_file(run) for run in runs)
    return experiment_path(folder.name) if own else None


def _recorded(folder: Path) -> Path | None:
    try:
        content: Any = json.loads(read_regular(folder / FILE))
        if "shipped" in content:
            return experiment_path(str(content["shipped"]))
        return (folder.resolve() / str(content["toml"])).resolve()
    except (OSError, ValueError, KeyError, TypeError, RecursionError, UsageError):
        return None


def _by_file(run: RunFolder) -> bool:
    """Whether a run of before such records was begun by the path of a TOML, and not by a shipped name."""
    with suppress(SelfflError):
        return any(str(word).endswith(".toml") for word in run.environment.get("command", []))
    return False


def _shown(path: Path) -> str:
    return f"'{path.stem}', which ships" if path.parent == experiments_folder() else str(path)
