"""Run folders: what a run was asked, what it measured, and where it stands."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from ..config.train import MOST_ROUNDS
from ..errors import SelfflError, one_line
from ..files.atomic import write_whole
from ..files.checksums import seal, unseal
from ..files.locks import NO_LOCKS, has_no_locks
from ..files.regular import read_regular
from ..files.toml import read_toml, toml_text
from ..shards import sha256
from .names import CHECKPOINT as CHECKPOINT
from .names import CLIENTS as CLIENTS
from .names import ENVIRONMENT as ENVIRONMENT
from .names import EVIDENCE as EVIDENCE
from .names import LOCK as LOCK
from .names import METRICS as METRICS
from .names import MODELS as MODELS
from .names import RECORD as RECORD
from .names import RESULT as RESULT
from .names import SCORES as SCORES
from .roles import Roles, assign_roles
from .schema import Environment, Evidence, Line, Record, Result, check, check_clients

if TYPE_CHECKING:
    import pyarrow

PARTICIPATIONS = "participations"  # rounds that a client took part in: a column of clients.parquet
FILES = (RECORD, ENVIRONMENT, METRICS, CLIENTS, MODELS, SCORES, EVIDENCE)  # what a result vouches for

Content = TypeVar("Content")


@lru_cache
def warn_once(text: str) -> None:
    """On stderr, the first time that it is so in this process."""
    print(one_line(text), file=sys.stderr)


class Busy(SelfflError):
    """Another process works on a run."""

    def __init__(self, path: Path, owner: str) -> None:
        super().__init__(f"{path}: process {owner} works on this run; wait for it or stop it")
        self.path, self.owner = path, owner
        self.waiting = f"waiting for process {owner}, which works on {path.name}"


class RunFolder:
    """runs/EXPERIMENT/DATA-LABEL-sSEED-HASH, as it is on disk.

    The result of a finished run holds the checksums of its other files, and every reading compares them.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._result: dict[str, Any] | None = None  # once it is there, it stays

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
            return check(Record, read_toml(self.read(RECORD).decode()))
        except (OSError, ValueError, RecursionError) as error:
            raise self._unreadable(RECORD, error) from None

    @property
    def result(self) -> dict[str, Any] | None:
        """How the run ended, or None while it has not."""
        if self._result is None:
            try:
                content = json.loads(read_regular(self.path / RESULT))
                content = unseal(content, required="files" in content)  # results older than seals have neither
                self._result = check(Result, content)
            except FileNotFoundError:
                return None
            except (OSError, ValueError, TypeError, RecursionError) as error:
                raise self._unreadable(RESULT, error) from None
        return self._result

    @property
    def environment(self) -> dict[str, Any]:
        if not self.has(ENVIRONMENT):
            return {}
        try:
            return check(Environment, json.loads(self.read(ENVIRONMENT)))
        except (OSError, ValueError, RecursionError) as error:
            raise self._unreadable(ENVIRONMENT, error) from None

    @property
    def evidence(self) -> dict[str, Any]:
        """What the method asked of all clients before delivery, and learnt; {} of most methods."""
        if not self.has(EVIDENCE):
            return {}
        try:
            return check(Evidence, json.loads(self.read(EVIDENCE)))
        except (OSError, ValueError, RecursionError) as error:
            raise self._unreadable(EVIDENCE, error) from None

    def _unreadable(self, name: str, error: Exception) -> SelfflError:
        return SelfflError(f"{self.path / name}: cannot be read ({error}); {self._again}")

    @property
    def _again(self) -> str:
        return f"delete the folder {self.path} and train the run again"

    def has(self, name: str) -> bool:
        """Whether the run has this file, or must have it."""
        return name in self._checksums or (self.path / name).exists()

    @property
    def _checksums(self) -> dict[str, str]:
        """{file: sha256} of a finished run."""
        return (self.result or {}).get("files", {})

    def read(self, name: str) -> bytes:
        """A file as it was written; SelfflError when a finished run's is not that any more."""
        return self._intact(name, lambda path: (data := read_regular(path), hashlib.sha256(data).hexdigest()))

    def check(self, name: str) -> Path:
        """The path of a file that is as it was written, for those that are mapped and not read."""
        return self._intact(name, lambda path: (path, sha256(path)))

    def _intact(self, name: str, get: Callable[[Path], tuple[Content, str]]) -> Content:
        path, expected = self.path / name, self._checksums.get(name)
        try:
            content, found = get(path)
        except FileNotFoundError:
            if expected is None:
                raise
            raise SelfflError(f"{path}: is missing; {self._again}") from None
        if expected is not None and found != expected:
            raise SelfflError(f"{path}: is damaged (not what {RESULT} says); {self._again}")
        return content

    def metrics(self) -> list[dict[str, Any]]:
        """One dictionary a round; a line cut off by a kill is left out."""
        if not self.has(METRICS):
            return []
        try:
            lines = self.read(METRICS).split(b"\n")[:-1]
            if len(lines) > MOST_ROUNDS:
                raise ValueError(f"{len(lines):,} rounds; at most {MOST_ROUNDS:,} are read")
            return [check(Line, json.loads(line)) for line in lines]
        except (OSError, ValueError, RecursionError) as error:
            raise SelfflError(f"{self.path / METRICS}: a line is damaged ({error}); {self._again}") from None

    def table(self, name: str) -> pyarrow.Table:
        """A Parquet file of the run."""
        import pyarrow
        import pyarrow.parquet as parquet

        try:
            return parquet.read_table(io.BytesIO(self.read(name)))
        except (OSError, ValueError, pyarrow.ArrowException) as error:
            raise self._unreadable(name, error) from None

    @property
    def clients(self) -> pyarrow.Table:
        """Final figures of every client."""
        import pyarrow

        try:
            return check_clients(self.table(CLIENTS))
        except (ValueError, pyarrow.ArrowException) as error:
            raise self._unreadable(CLIENTS, error) from None

    @cached_property
    def roles(self) -> Roles:
        """Who trained and who was judged, as the record and the clients' sizes say."""
        train, sizes = self.record["train"], self._numbers("n_train")
        share, scored = train.get("new_clients", 0.0), train.get("eval_clients", "all")
        if not (isinstance(share, int | float) and 0 <= share < 1):
            raise self._unreadable(RECORD, ValueError(f"train.new_clients is {share!r}, a share below 1 is expected"))
        if not (scored == "all" or (isinstance(scored, int) and scored > 0)):
            raise self._unreadable(RECORD, ValueError(f"train.eval_clients is {scored!r}"))
        return assign_roles(self.record["seed"], sizes, share, scored)

    @property
    def trained(self) -> np.ndarray:
        """Ids of the clients that took part in a round or more, on whose training samples the run trained."""
        return self.roles.pool[self._numbers(PARTICIPATIONS)[self.roles.pool] > 0]

    def _numbers(self, name: str) -> np.ndarray:
        clients = self.clients
        if name not in clients.column_names:
            raise self._unreadable(CLIENTS, ValueError(f"it has no column '{name}'"))
        return clients[name].to_numpy()

    def write_record(self, content: dict[str, Any]) -> None:
        """Write run.toml; a resumed run's is written anew, since it may have been damaged meanwhile."""
        write_whole(self.path / RECORD, toml_text(content))

    def write_result(self, content: dict[str, Any]) -> dict[str, Any]:
        """Write result.json, sealed, with the checksum of every other file, and return it; last of all files."""
        files = {name: sha256(self.path / name) for name in FILES if (self.path / name).exists()}
        result = {**content, "files": files}
        self.write_json(RESULT, seal(result))
        return result

    def write_json(self, name: str, content: dict[str, Any]) -> None:
        write_whole(self.path / name, json.dumps(content, indent=1, sort_keys=True) + "\n")

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second process, Busy when there is one; the lock of a dead process is gone with it.

        A POSIX lock, which forked workers do not inherit: after a kill they may live on for the rest of a round, and
        must not keep the folder from the next process.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        for path in (self.path / METRICS, self.path / CHECKPOINT):
            if path.is_symlink():
                raise SelfflError(f"{path}: is a link, and what is written would land elsewhere; {self._again}")
        name = self.path / LOCK
        handle = os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            self._lock(handle)
            os.ftruncate(handle, 0)
            os.write(handle, str(os.getpid()).encode())
            yield
        finally:
            os.close(handle)

    def check_free(self) -> None:
        """Busy when another process holds the folder. Not for the one that holds it: POSIX would free its lock."""
        try:
            handle = os.open(self.path / LOCK, os.O_RDWR)
        except OSError:  # nobody ever held it; or it cannot be held, which `locked` will say
            return
        try:
            self._lock(handle)
        finally:
            os.close(handle)

    def _lock(self, handle: int) -> None:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):  # which of the two depends on the system
            owner = os.read(handle, 32).decode(errors="replace").strip() or "?"
            raise Busy(self.path, owner) from None
        except OSError as error:
            if not has_no_locks(error):
                raise
            warn_once(NO_LOCKS.format(path=self.path.parent))


def find_runs(root: Path, experiment: str) -> list[RunFolder]:
    """Every run folder of an experiment, in order of name."""
    return [RunFolder(path.parent) for path in sorted((root / experiment).glob(f"*/{RECORD}"))]
