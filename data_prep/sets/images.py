"""Pictures of one's own: folders CLIENT/LABEL/*.png, or a table of path, client and label."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field, field_validator

from selffl_cli.errors import SelfflError
from selffl_cli.files.regular import read_regular
from selffl_cli.shards import sha256

from ..dataset import DataSet, Stage
from ..dealing.pool import PARTITION_HELP, Pool, PrepareOptions, draw_clients
from ..reading import images
from ..reading.tree import files, is_litter
from ..texts.lines import decode_text, nfc

SOURCE = "a folder CLIENT/LABEL/*.png or .jpg, or a CSV file of path, client, label with paths from its folder on"
EXAMPLES = (
    "selffl prepare images photos/",
    "selffl prepare images photos.csv --size 32,32 --colour no",
)
ENDINGS = (".png", ".jpg", ".jpeg")
COLUMNS = ("path", "client", "label")
SHOWN = 4


class Options(PrepareOptions):
    partition: str = Field("natural", description=f"Natural clients are the outer folders. {PARTITION_HELP}")
    clients: int | None = Field(None, ge=1, le=10_000_000, description="natural: so many, drawn by the seed.")
    at_least: int = Field(1, ge=1, description="natural: a client with so many pictures or more.")
    size: str | None = Field(
        None, description="Resize to width,height pixels; without it all pictures must have one size."
    )
    colour: Literal["auto", "yes", "no"] = Field("auto", description="auto: grey where every picture is.")

    @field_validator("size")
    @classmethod
    def _sides(cls, value: str | None) -> str | None:
        if value is not None:
            sides = value.split(",")
            if len(sides) != 2 or not all(side.strip().isdigit() and 0 < int(side) <= 4096 for side in sides):
                raise ValueError("give width,height in pixels, such as 32,32")
        return value


@dataclass(frozen=True)
class Picture:
    """Where a picture lies, whose it is and what it shows."""

    path: Path
    client: str
    label: str


def _folders(source: Path) -> list[Picture]:
    found, odd = [], Counter[str]()
    for path in files(source):
        inside = path.relative_to(source)
        if is_litter(inside.as_posix()):
            continue
        if path.suffix.lower() not in ENDINGS or len(inside.parts) != 3:
            odd[inside.as_posix()] += 1
            continue
        found.append(Picture(path, nfc(inside.parts[0]), nfc(inside.parts[1])))
    if not found or len(odd) > len(found):
        seen = f"; it has {', '.join(list(odd)[:SHOWN])}" if odd else ""
        raise SelfflError(f"{source}: has no pictures as CLIENT/LABEL/NAME.png{seen}; give {SOURCE}")
    return found


def _table(source: Path) -> list[Picture]:
    """The rows of path, client, label; paths stay inside the table's folder."""
    rows = csv.DictReader(io.StringIO(decode_text(read_regular(source), source)))
    if not set(COLUMNS) <= set(rows.fieldnames or ()):
        seen = ", ".join(rows.fieldnames or ["nothing"])[:100]
        raise SelfflError(f"{source}: its first line must name the columns path, client and label; it has {seen}")
    root, found = source.parent.resolve(), []
    for number, row in enumerate(rows, 2):
        path, client, label = (str(row[name] or "").strip() for name in COLUMNS)
        if not (path and client and label):
            raise SelfflError(f"{source}: line {number} has no path, no client or no label; fill it in")
        place = source.parent / path
        if not place.resolve().is_relative_to(root):
            raise SelfflError(f"{source}: line {number}: {path} leads out of {source.parent}; keep pictures inside")
        if not place.is_file():
            raise SelfflError(f"{source}: line {number}: {path}: no such file beside the table")
        found.append(Picture(place, nfc(client), nfc(label)))
    if not found:
        raise SelfflError(f"{source}: names no pictures; give {SOURCE}")
    return found


def _pixels(options: Options, source: Path, paths: list[Path]) -> tuple[np.ndarray, dict[str, str]]:
    """All pictures in one array; SelfflError names the sizes where there are several and none was asked for."""
    heads = [images.head(path) for path in paths]
    seen = Counter(size for size, _ in heads)
    if len(seen) > 1 and options.size is None:
        listed = ", ".join(f"{w}x{h} {count:,} times" for (w, h), count in seen.most_common(SHOWN))
        raise SelfflError(
            f"{source}: its pictures have {len(seen)} sizes ({listed}{', …' if len(seen) > SHOWN else ''}); "
            "resize them to one by --size width,height"
        )
    width, height = map(int, options.size.split(",")) if options.size else next(iter(seen))
    grey = options.colour == "no" or (options.colour == "auto" and all(grey for _, grey in heads))
    x = np.empty((len(paths), 1 if grey else 3, height, width), np.uint8)
    for i, path in enumerate(paths):
        x[i] = images.decode(read_regular(path), x.shape[1:], str(path), resize=options.size is not None)
    resized = sum(count for size, count in seen.items() if size != (width, height))
    return x, {"resized": f"{resized:,} pictures, to {width}x{height}"} if resized else {}


class Images(DataSet):
    """Your own pictures, as folders CLIENT/LABEL or by a table."""

    options_type = Options
    source = SOURCE
    examples = EXAMPLES

    def load(self, options: Options, source: Path | None, stage: Stage) -> Pool:
        """x uint8 [n, channels, height, width]; y int64 [n]. Natural clients are the outer folders."""
        assert source is not None
        found = _table(source) if source.is_file() else _folders(source)
        sizes = Counter(picture.client for picture in found)
        names = sorted(name for name, size in sizes.items() if size >= options.at_least)
        if not names:
            raise SelfflError(f"{source}: no client has {options.at_least} pictures (most: {max(sizes.values())})")
        if options.partition == "natural" and options.clients is not None:
            drawn, _ = draw_clients(np.arange(len(names)), options.clients, options.seed)
            names = [names[number] for number in drawn]
        index = {name: number for number, name in enumerate(names)}
        found = [picture for picture in found if picture.client in index]
        classes = sorted({picture.label for picture in found})
        if len(classes) < 2:
            raise SelfflError(
                f"{source}: all pictures have the label '{classes[0][:40]}', so there is nothing to predict"
            )
        x, notes = _pixels(options, source, [picture.path for picture in found])
        return Pool(
            arrays={"x": x, "y": np.array([classes.index(picture.label) for picture in found], np.int64)},
            classes=classes, citation="", client=np.array([index[picture.client] for picture in found], np.int64),
            client_names=names, features=lambda: images.features(x), notes=notes,
            sources=[{"name": images.relative(picture.path, source), "sha256": sha256(picture.path)}
                     for picture in found],
        )  # fmt: skip
