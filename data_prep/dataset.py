"""The contract of a data set: what it is called, what it is read from, and its samples before they are dealt out."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from .dealing.pool import Assignment, Pool, PrepareOptions

Stage = Callable[[str], None]  # told what is being done


class DataSet(ABC):
    """A source of samples. The first line of its docstring is its help; its options are those of `selffl prepare`."""

    options_type: ClassVar[type[PrepareOptions]] = PrepareOptions
    source: ClassVar[str] = ""  # what its --source is, in words; "" for a data set that takes none
    source_url: ClassVar[str | None] = None  # the official download, or a named source, for a --source left out
    source_sha256: ClassVar[str | None] = None  # of the official download
    named_sources: ClassVar[Mapping[str, Callable[[Stage], Path]]] = {}  # words for another way to get it
    examples: ClassVar[tuple[str, ...]] = ()  # commands for its help

    @abstractmethod
    def load(self, options: Any, source: Path | None, stage: Stage) -> Pool:
        """All samples: `x` and `y`, with what the source knows of its clients and parts.

        options: `options_type`, validated. source: a file or folder that exists; None where `source` is "".
        stage: told what is being done. SelfflError where the source cannot be read.
        """

    def finish(self, pool: Pool, assignment: Assignment, options: Any) -> None:  # noqa: B027 - nothing, unless a set does
        """Change the pool once it is known who has which sample, as a vocabulary of the training samples needs."""

    def preview(self, options: Any, source: Path, stage: Stage) -> None:  # noqa: B027
        """Make what a person looks at or listens to beside the shards, whether or not these are there."""

    def describe(self, options: Any, source: Path | None) -> list[str]:
        """What was understood of the source, a line each, told before the data are made."""
        return []

    def about(self) -> str:
        """What the data set is, in one line."""
        return (inspect.getdoc(type(self)) or type(self).__name__).splitlines()[0]
