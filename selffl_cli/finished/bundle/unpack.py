"""Open a bundle that came from anywhere: every member is checked before it is written, and after."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from ...errors import SelfflError
from ...files.checksums import unseal
from ...runs.folder import RECORD
from .pack import DATA, FORMAT, INDEX, RUNS

LARGEST = 16 << 30  # bytes that a bundle may hold once unpacked
MOST = 1_000_000  # members
AGAIN = "ask for the bundle again"


@dataclass(frozen=True)
class Bundle:
    """An unpacked bundle."""

    folder: Path
    experiment: str
    files: dict[str, str]

    @property
    def runs(self) -> list[Path]:
        """Folders of runs, in order of name."""
        return sorted(path.parent for path in (self.folder / RUNS).rglob(RECORD))

    def shards(self, digest: str) -> Path | None:
        """The folder of the shards with this data hash, when the bundle holds them."""
        for path in sorted((self.folder / DATA).glob("*/train.safetensors")):
            if json.loads((path.parent / "manifest.json").read_text(encoding="utf-8")).get("data_hash") == digest:
                return path.parent
        return None


def unpack(archive: Path, folder: Path) -> Bundle:
    """Write the members into `folder`, which is empty; SelfflError for what is no whole bundle.

    A member that is a link, climbs out of the folder, is not in the index, or is not what the index says, is refused.
    """
    from data_prep.reading.archive import Limits, members

    found: dict[str, str] = {}
    for name, stream in members(archive, limits=Limits(members=MOST, total=LARGEST)):
        if name in found:
            raise SelfflError(f"{archive}: holds '{name}' twice; {AGAIN}")
        target = folder / PurePosixPath(name)
        if any(parent in found for parent in map(str, PurePosixPath(name).parents)) or target.is_dir():
            raise SelfflError(f"{archive}: '{name}' is a file and a folder at once; {AGAIN}")
        target.parent.mkdir(parents=True, exist_ok=True)
        found[name] = _write(stream, target)
    index = _index(archive, folder / INDEX, found)
    for name in sorted({*index["files"], *found} - {INDEX}):
        if index["files"].get(name) != found.get(name):
            what = (
                "is missing"
                if name not in found
                else "is not in its index"
                if name not in index["files"]
                else "is damaged"
            )
            raise SelfflError(f"{archive}: '{name}' {what}; {AGAIN}")
    return Bundle(folder, index["experiment"], index["files"])


def _write(stream: IO[bytes], target: Path) -> str:
    digest = hashlib.sha256()
    with target.open("xb") as file:
        while block := stream.read(1 << 20):
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def _index(archive: Path, path: Path, found: dict[str, str]) -> dict[str, Any]:
    if INDEX not in found:
        raise SelfflError(f"{archive}: holds no {INDEX}, so it is no bundle; `selffl bundle` makes one")
    try:
        content = unseal(json.loads(path.read_bytes()), required=True)
        sound = isinstance(content["experiment"], str) and isinstance(content["files"], dict)
        if not sound or content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}, this selffl reads format {FORMAT}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SelfflError(f"{archive}: its {INDEX} cannot be read ({error}); {AGAIN}") from None
    return content
