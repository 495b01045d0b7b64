"""Parquet files of one set: which they are, which part each holds, and their columns.

Layouts are those of Hugging Face's sets: train-00000-of-00001.parquet, train.parquet, default/train/0000.parquet, or
one file alone. Files that differ in anything but the part and the number are of two sets, and never joined.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from selffl_cli.errors import SelfflError

from .tree import files, is_litter, likeliest

PART = re.compile(r"(?:^|[-_.])(?:partial-)?(train|training|test|testing|validation|valid|val|dev)(?=$|[-_.])", re.I)
NUMBER = re.compile(r"(?:^|[-_.])(\d+)(?:-of-(\d+))?(?:-[0-9a-f]{8,})?$")


def parquet_files(source: Path, name: str) -> list[Path]:
    """The Parquet files of the one set that a source is or holds: training files first, then in order of their paths.

    [] without any. SelfflError where there are several sets, or several revisions of one; it suggests the one that is
    called as the data set, `name`, is.
    """
    if source.is_file():
        return [source] if source.suffix == ".parquet" else []
    sets: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in files(source):
        relative = path.relative_to(source)
        if path.suffix == ".parquet" and not is_litter(relative.as_posix()):
            sets[_set(relative)].append(path)
    if not sets:
        return []
    if len(sets) > 1:
        some = [paths[0] for _, paths in sorted(sets.items())]
        places = [path.parent for path in some]
        right = likeliest(places if len(set(places)) == len(some) else some, name)
        raise SelfflError(
            f"{source}: holds Parquet files of {len(sets)} sets or revisions ({', '.join(map(str, some[:4]))}), "
            f"which are never joined; give one of them, such as --source {right}"
        )
    (found,) = sets.values()
    _whole(source, found)
    return sorted(found, key=lambda path: (part_of(path, source) != "train", path))


def part_of(path: Path, source: Path) -> str:
    """train, test or validation by the file's name, else by the folders that it lies in; "" where nothing says so."""
    relative = path.relative_to(source) if path != source else Path(path.name)
    for name in (relative.stem, *reversed(relative.parts[:-1])):
        if match := PART.search(name):
            said = match[1].lower()
            return "train" if said.startswith("train") else "test" if said.startswith("test") else "validation"
    return ""


def _set(relative: Path) -> tuple[str, str]:
    """What a file's path says besides its part and its number: the same for all files of a set."""
    folders = [part for part in relative.parts[:-1] if not PART.fullmatch(part)]
    stem = NUMBER.sub("", relative.stem)
    return "/".join(folders), PART.sub("", stem).strip("-_.")


def _whole(source: Path, found: list[Path]) -> None:
    """SelfflError where a part's files are numbered twice, or some of them are missing."""
    numbers: dict[str, dict[int, Path]] = defaultdict(dict)
    totals: dict[str, set[int]] = defaultdict(set)
    parts = {path: part_of(path, source) for path in found}
    if "" in parts.values() and len(set(parts.values())) > 1:
        odd = next(path for path, part in parts.items() if not part)
        raise SelfflError(f"{odd}: which part it holds is not said, though other files say theirs; take it out")
    for path, part in parts.items():
        match = NUMBER.search(path.stem)
        number = int(match[1]) if match else 0
        if (other := numbers[part].setdefault(number, path)) != path:
            raise SelfflError(
                f"{other} and {path}: are the same part of one set twice, two revisions perhaps; leave one of them"
            )
        if match and match[2]:
            totals[part].add(int(match[2]))
    for part, total in totals.items():
        missing = sorted(set(range(max(total))) - set(numbers[part]))
        if len(total) > 1 or missing:
            what = f"number {missing[0]} is missing" if missing else f"are numbered of {sorted(total)}"
            raise SelfflError(f"{source}: its files of {part or 'data'}: {what}; bring all files of one revision")


def columns(paths: Sequence[Path], names: Sequence[str]) -> list[np.ndarray]:
    """Columns of all the files end to end; SelfflError where a file is broken or has no such column."""
    import pyarrow

    tables = []
    for path in paths:
        with opened(path, names) as file:
            try:
                tables.append(file.read(columns=list(names)))
            except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
                raise broken(path, error) from None
    found = []
    for name in names:
        for path, table in zip(paths, tables, strict=True):
            if table[name].null_count:
                raise SelfflError(f"{path}: column '{name}' has empty cells; bring the files as published")
        found.append(np.concatenate([table[name].to_numpy() for table in tables]))
    return found


def opened(path: Path, names: Sequence[str]) -> Any:
    """The file, open; SelfflError where it is no Parquet file or lacks a column."""
    import pyarrow
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as error:
        raise broken(path, error) from None
    missing = [name for name in names if name not in file.schema_arrow.names]
    if missing:
        have = ", ".join(file.schema_arrow.names)
        file.close()
        raise SelfflError(f"{path}: has no column '{missing[0]}' (but {have}); bring the Parquet files as published")
    return file


def broken(path: Path, error: Exception) -> SelfflError:
    with path.open("rb") as stream:
        if stream.read(40).startswith(b"version https://git-lfs"):
            return SelfflError(f"{path}: is a pointer of Git LFS and not the file itself; fetch it by git lfs pull")
    reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
    return SelfflError(f"{path}: no whole Parquet file ({reason}); bring it again")
