"""What a parser under attack is: a good input on the disk, the file of it that is changed, and how it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Parser:
    """`make(folder)` writes a good input; its file `file` is then changed; `read(folder)` reads everything of it.

    `mend(folder)` makes checksums fit the changed file, as who changes a file on purpose would do.
    """

    name: str
    make: Callable[[Path], None]
    file: str
    read: Callable[[Path], object]
    mend: Callable[[Path], None] = lambda folder: None
    words: tuple[str, ...] = ()  # of its language, thrown in by the mutator
