"""Sets of the Hugging Face hub: the one place that calls `datasets`."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from selffl_cli.errors import SelfflError


def load(repository: str, instead: str, split: str | None = None) -> Any:
    """A split as `datasets` gives it, None: a dictionary of all; SelfflError says to bring `instead`."""
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # six lines about one address
    try:
        return load_dataset(repository, split=split)
    except Exception as error:  # whatever the network, the hub or the library may raise
        reason = (str(error) or type(error).__name__).splitlines()[0][:120]
        raise SelfflError(f"{repository}: cannot be fetched ({reason}); bring {instead}") from None


def fetch(repository: str, instead: str, cache: Path | None = None) -> Path:
    """A folder with one Parquet file a split, in the download cache, where it may be already."""
    from .download import default_cache

    folder = (cache or default_cache()) / "hub" / repository.strip("/").replace("/", "--")
    if folder.is_dir():
        return folder
    splits = load(repository, instead)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir(parents=True)
        for name, split in splits.items():
            split.to_parquet(temporary / f"{name}.parquet")
        temporary.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # else another process was first
            raise SelfflError(
                f"{repository}: cannot be kept in {folder.parent} ({error.strerror or error}); set "
                "SELFFL_CACHE to a folder with room"
            ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def source(repository: str, instead: str) -> Callable[[Callable[[str], None]], Path]:
    """A named source of a data set: fetches when it is asked for."""

    def get(stage: Callable[[str], None]) -> Path:
        stage(f"fetching {repository}")
        return fetch(repository, instead)

    return get
