"""From run folders to a logger, once or beside the runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Protocol

from ...errors import SelfflError, UsageError
from ...runs.folder import RunFolder
from ...runs.listing import find
from .scalars import About, Reader, Round, about

EVERY = 1.0  # seconds between two looks at runs that are going on
KINDS = ("tensorboard", "mlflow", "wandb", "trackio")


class Log(Protocol):
    """One run in a logger."""

    def write(self, round_: Round) -> None: ...

    def end(self, status: str) -> None:
        """The run has ended: finished or diverged; or it is still under way and nobody follows it: ""."""


class Logger(Protocol):
    """A logger that is installed here, and where it keeps what it is told."""

    def begin(self, run: About) -> Log:
        """Start the run anew: what an earlier export told of it does not stay beside."""

    def close(self) -> None:
        """Everything is kept when it returns."""

    def hint(self) -> str:
        """What to type to look at it."""


def open_logger(kind: str, where: str) -> Logger:
    """UsageError, with the extra that brings it, where the logger is not installed."""
    try:
        module = import_module(f".{kind}", __package__)
        logger: Logger = module.open_logger(where)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("selffl"):
            raise
        raise UsageError(
            f"--to {kind}: {error.name} is not installed; pip install 'selffl[{kind}]' installs it"
        ) from None
    return logger


@dataclass
class Export:
    """Which rounds of which runs a logger has been told."""

    logger: Logger
    kind: str
    say: Callable[[str], None] = lambda text: None
    logs: dict[Path, tuple[Log, Reader]] = field(default_factory=dict)
    ended: set[Path] = field(default_factory=set)
    rounds: int = 0

    def once(self, folders: Iterable[Path]) -> None:
        """Tell the logger all that is there."""
        for folder in runs_of(folders):
            self._look(folder)
        self.close()

    def follow(self, folders: list[Path], every: float = EVERY) -> None:
        """Tell the logger each round when it is written, until every run that is there has ended."""
        try:
            while True:
                found = list(runs_of(folders, empty=True))
                for folder in found:
                    self._look(folder)
                if found and self.ended >= set(found):
                    return
                time.sleep(every)
        finally:
            self.close()

    def _look(self, path: Path) -> None:
        if path in self.ended:
            return
        folder = RunFolder(path)
        result = folder.result  # before the rounds are read: the last one is there when the result is
        if path not in self.logs:
            run = about(folder)
            with self._named(path):
                self.logs[path] = self.logger.begin(run), Reader(path, run.started)
            self.say(f"{run.experiment}: {run.name}")
        log, reader = self.logs[path]
        with self._named(path):
            for round_ in reader.new():
                log.write(round_)
                self.rounds += 1
            if result is not None:
                self.ended.add(path)
                log.end(result["status"])

    def close(self) -> None:
        """Let go of the runs that have not ended."""
        for path, (log, _) in self.logs.items():
            if path not in self.ended:
                with self._named(path):
                    log.end("")
        self.logs.clear()
        self.logger.close()

    @contextmanager
    def _named(self, path: Path) -> Iterator[None]:
        """What a logger raises, as one line that says who it was."""
        try:
            yield
        except (SelfflError, KeyboardInterrupt):
            raise
        except Exception as error:
            why = f"{type(error).__name__}: {error}".rstrip(": ")
            raise SelfflError(f"{self.kind} failed at {path}: {why}; the run itself is not touched") from error


def runs_of(folders: Iterable[Path], empty: bool = False) -> list[Path]:
    """Every run in the folders given; UsageError for a folder that has none, unless it may be `empty` yet."""
    found: dict[Path, None] = {}
    for folder in folders:
        runs = find(folder)
        if not runs and not empty:
            raise UsageError(f"{folder}: no run in it (a run is a folder with a run.toml); give a folder below runs/")
        found |= dict.fromkeys(runs)
    return list(found)
