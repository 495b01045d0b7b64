"""Options of `selffl train` that are one of a few words."""

from __future__ import annotations

from enum import StrEnum


class Place(StrEnum):
    """Where per-client rows lie."""

    memory = "memory"
    disk = "disk"


class LauncherName(StrEnum):
    """What carries runs out."""

    local = "local"
    ray = "ray"


class KeepModels(StrEnum):
    """Which final models a run folder keeps."""

    auto = "auto"
    global_ = "global"
    personal = "personal"
    none = "none"


class Engine(StrEnum):
    """How the clients of a round are computed."""

    auto = "auto"
    sequential = "sequential"
    stacked = "stacked"


class Precision(StrEnum):
    """Of the matrix products of training."""

    float32 = "float32"
    tf32 = "tf32"
    bf16 = "bf16"
