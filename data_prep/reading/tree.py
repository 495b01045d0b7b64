"""The files of a source folder: one walk for everything that reads or digests one, so that both see the same files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from selffl_cli.errors import SelfflError


def files(source: Path) -> list[Path]:
    """Every regular file below a folder, in the order of their paths. Links are followed as long as they stay inside.

    Raises SelfflError for a link that leads out of the folder: what it leads to would not travel with the folder,
    and its name would stay when its content changes. The blobs of a snapshot in a hub's cache are inside.
    """
    own = source.resolve()
    return sorted(_walk(source, (own, *_blobs(own)), (own,)))


def _blobs(source: Path) -> list[Path]:
    """Where the files of a hub's snapshot lie: SET/snapshots/REVISION holds links to SET/blobs, named by content."""
    for folder in (source, *source.parents):
        blobs = folder.parent.parent / "blobs"
        if folder.parent.name == "snapshots" and blobs.is_dir() and not blobs.is_symlink():
            return [blobs]
    return []


def _walk(folder: Path, inside: tuple[Path, ...], above: tuple[Path, ...]) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise SelfflError(f"{folder}: cannot be read ({error.strerror}); give a folder of yours") from None
    for entry in entries:
        path = folder / entry.name
        if entry.is_symlink():
            target = path.resolve()
            if not any(target.is_relative_to(root) for root in inside):
                raise SelfflError(
                    f"{path}: is a link that leads out of the source, to {target}; copy what it leads to into the "
                    "source, or give the folder it leads to"
                )
            if target in above:
                continue  # to a folder that it lies in
        if entry.is_dir():
            yield from _walk(path, inside, (*above, path.resolve()))
        elif entry.is_file():
            yield path


def is_litter(name: str) -> bool:
    """Whether a file's path is that of what systems leave beside files: ._ files of macOS, hidden files."""
    return "__MACOSX" in name or name.rpartition("/")[2].startswith(".")


def likeliest(places: Sequence[Path], name: str) -> Path:
    """The first place with a folder (or a file) called as the data set is, else the first of all."""
    return next((place for place in places if name in (part.lower() for part in (*place.parts, place.stem))), places[0])


def one_place(source: Path, found: Mapping[str, list[Path]], name: str, most: int) -> list[Path]:
    """Of the folders that hold files of a set, {relative folder: files}, the only one; [] where there is none.

    A set may lie in several folders that hold no file name twice. SelfflError names folders that do, the one that
    `name` of the data set suggests first; of `most` files that a set has.
    """
    names = [path.name for paths in found.values() for path in paths]
    if len(set(names)) == len(names) and len(names) <= most:
        return sorted(path for paths in found.values() for path in paths)
    if len(found) == 1:
        return sorted(next(iter(found.values())))
    places = [source / place for place in sorted(found)]
    raise SelfflError(
        f"{source}: holds more than one copy of the files of {name} ({', '.join(map(str, places[:4]))}), and which is "
        f"meant is not said; give one of them, such as --source {likeliest(places, name)}"
    )


def by_folder(source: Path, keep: Callable[[str], bool]) -> dict[str, list[Path]]:
    """The files whose name `keep` wants, by the folder that they lie in, relative to the source."""
    found: dict[str, list[Path]] = {}
    for path in files(source):
        if keep(path.name) and not is_litter(path.relative_to(source).as_posix()):
            found.setdefault(path.parent.relative_to(source).as_posix(), []).append(path)
    return found
