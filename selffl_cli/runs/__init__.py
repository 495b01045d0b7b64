"""Run folders: what a run was asked, what it measured, and where it stands."""

from __future__ import annotations

import fcntl
import json
import os
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SelfflError
from .files import write_whole

if TYPE_CHECKING:
    import pyarrow

RECORD, RESULT, METRICS, CLIENTS = "run.toml", "result.json", "metrics.jsonl", "clients.parquet"
MODELS, ENVIRONMENT, LOCK, CHECKPOINT = "models.safetensors", "environment.json", "lock", "checkpoint"
SCORES = "scores.parquet"  # of detection tasks


class RunFolder:
    """runs/EXPERIMENT/DATA-LABEL-sSEED-HASH, as it is on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """An existing run folder; SelfflError when it is none."""
        if not (path / RECORD).is_file():
            raise SelfflError(f"{path}: not a run folder (no {RECORD}); give a folder below runs/")
        return cls(path)

    @cached_property
    def record(self) -> dict[str, Any]:
        """The resolved configuration."""
        try:
            return tomllib.loads((self.path / RECORD).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise SelfflError(
                f"{self.path / RECORD}: cannot be read ({error}); delete the folder, train again"
            ) from None

    @property
    def result(self) -> dict[str, Any] | None:
        """How the run ended, or None while it has not."""
        return self._json(RESULT)

    @property
    def environment(self) -> dict[str, Any]:
        return self._json(ENVIRONMENT) or {}

    def _json(self, name: str) -> dict[str, Any] | None:
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise SelfflError(f"{self.path / name}: cannot be read ({error}); delete the folder, train again") from None

    def metrics(self) -> list[dict[str, Any]]:
        """One dictionary a round; a line cut off by a kill is left out."""
        path = self.path / METRICS
        if not path.exists():
            return []
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
        try:
            return [json.loads(line) for line in lines]
        except ValueError as error:
            raise SelfflError(f"{path}: a line is damaged ({error}); delete the folder and train again") from None

    @property
    def clients(self) -> pyarrow.Table:
        """Final figures of every client."""
        import pyarrow.parquet as parquet

        return parquet.read_table(self.path / CLIENTS)

    def write_record(self, content: dict[str, Any]) -> None:
        """Write run.toml, unless it stands already (a resumed run keeps its own)."""
        import tomli_w

        if not (self.path / RECORD).exists():
            write_whole(self.path / RECORD, tomli_w.dumps(content))

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        write_whole(self.path / name, json.dumps(content, indent=1, sort_keys=True) + "\n")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second process; the lock of a dead process is gone with it.

        A POSIX lock, which forked workers do not inherit: after a kill they may live on for the rest of a round, and
        must not keep the folder from the next process.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        name = self.path / LOCK
        handle = os.open(name, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):  # which of the two depends on the system
                owner = os.read(handle, 32).decode(errors="replace").strip() or "?"
                raise SelfflError(f"{self.path}: process {owner} works on this run; wait for it or stop it") from None
            os.ftruncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
            yield
        finally:
            os.close(handle)


def find_runs(root: Path, experiment: str) -> list[RunFolder]:
    """Every run folder of an experiment, in order of name."""
    return [RunFolder(path.parent) for path in sorted((root / experiment).glob(f"*/{RECORD}"))]
