"""The user's cache folder: downloads, and what was measured of this machine."""

from __future__ import annotations

import os
from pathlib import Path


def default_cache() -> Path:
    """$SELFFL_CACHE, else `selffl` in the user's cache folder."""
    if folder := os.environ.get("SELFFL_CACHE"):
        return Path(folder)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "selffl"
