"""manifest.json: everything about a shard folder but the samples."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from ..config.validation import Strict
from ..errors import SelfflError
from ..files.checksums import unseal
from ..files.regular import open_regular, read_regular

FORMAT_VERSION = 1
PERIODS_VERSION = 2  # of shards with periods, which a reader of format 1 must not take for one period
PARTS = ("train", "validation", "test")
AGAIN = "prepare it again with --force"


class Source(Strict):
    """A file that the data came from."""

    name: str
    sha256: str


class Samples(Strict):
    """Samples in each part, over all clients."""

    train: int = Field(ge=0)
    validation: int = Field(ge=0)
    test: int = Field(ge=0)


class Input(Strict):
    """One sample's `x`: its shape without the sample dimension, and its type as numpy names it."""

    shape: list[Annotated[int, Field(ge=0, lt=2**31)]]
    dtype: str


class Manifest(Strict):
    """Everything about a shard folder but the samples."""

    format_version: int
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$", max_length=100)  # names run folders
    partition: str
    task: Literal["classification", "gaussian", "regression", "language-model", "tagging"]
    sources: list[Source]
    arguments: dict[str, Any]
    clients: int = Field(ge=1)
    periods: int = Field(1, ge=1)
    samples: Samples
    classes: list[str]
    input: Input
    citation: str
    notes: dict[str, Any]
    files: dict[str, str]  # file name: sha256
    data_hash: str  # over the arrays and the client table, not the way they were asked for
    sha256: str = ""  # over the rest of the manifest; shards of an older selffl have none

    @property
    def outputs(self) -> int:
        """How many numbers a model gives for a sample: a logit for each class, or the number to predict."""
        return 1 if self.task == "regression" else len(self.classes)


def sha256(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes."""
    with open_regular(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a shard folder, or a SelfflError that says why it cannot be used."""
    path = folder / "manifest.json"
    try:
        content = json.loads(read_regular(path).decode())
        version = content["format_version"]
    except (FileNotFoundError, NotADirectoryError):
        raise SelfflError(f"{folder}: no shards here; make them with `selffl prepare`") from None
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise SelfflError(f"{path}: not a manifest of shards; {AGAIN}") from None
    if version not in (FORMAT_VERSION, PERIODS_VERSION):
        raise SelfflError(
            f"{folder}: shards of format {version}, this selffl reads formats {FORMAT_VERSION} and {PERIODS_VERSION}; "
            f"{AGAIN}"
        )
    try:
        unseal(content)
    except ValueError:
        raise SelfflError(f"{path}: is damaged (its checksum does not agree with the rest of it); {AGAIN}") from None
    try:
        return Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise SelfflError(f"{path}: {key}: {first['msg'].lower()}; {AGAIN}") from None
