"""Speech Commands from the Hugging Face hub, as an archive of the official layout in the download cache."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from selffl_cli.errors import SelfflError

from .download import default_cache

HUB = "google/speech_commands"
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}


def from_hub(stage: Callable[[str], None]) -> Path:
    """The archive, made at the first call from the hub's Parquet copy: the set's own loader is a script."""
    path = default_cache() / "speech-commands-v0.02-hub.zip"
    if path.is_file():
        return path
    try:
        from datasets import Audio, load_dataset

        splits = load_dataset(HUB, "v0.02", revision="refs/convert/parquet", streaming=True)
        rows = {name: split.cast_column("audio", Audio(decode=False)) for name, split in splits.items()}
        write_zip(rows, path, stage)
    except SelfflError:
        raise
    except Exception as error:  # whatever the network, the hub or the library may raise
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise SelfflError(
            f"{HUB}: cannot be fetched ({reason}); bring speech_commands_v0.02.tar.gz by --source FILE"
        ) from None
    return path


def write_zip(splits: Mapping[str, Iterable[Any]], path: Path, stage: Callable[[str], None]) -> None:
    """Rows with `file` (LABEL/NAME.wav) and `audio` ({"bytes": …}) of each split, as a zip with the lists."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    seen: set[str] = set()
    try:
        with zipfile.ZipFile(temporary, "w") as archive:
            for split, rows in splits.items():
                names = []
                for row in rows:
                    name = "/".join(Path(row["file"]).parts[-2:])
                    if name in seen:  # the background noise stands in every split
                        continue
                    seen.add(name)
                    names.append(name)
                    archive.writestr(name, row["audio"]["bytes"])
                    if len(seen) % 500 == 0:
                        stage(f"fetching {HUB}, {len(seen):,} recordings")
                if split in LISTS:
                    archive.writestr(LISTS[split], "\n".join(names) + "\n")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
