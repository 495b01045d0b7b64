"""Options that several commands share: one name, one short letter and one help text for one thing."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from . import complete

WHAT, LONG, WHERE, HOW = "What", "How long", "Where", "How runs are carried out"


class LauncherName(StrEnum):
    """What carries runs out."""

    local = "local"
    ray = "ray"
    slurm = "slurm"


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


class ClientStore(StrEnum):
    """Where per-client rows lie."""

    memory = "memory"
    disk = "disk"


Experiment = Annotated[
    str,
    typer.Argument(
        help="An experiment's name or TOML file. Default: digits.",
        show_default=False,
        metavar="EXPERIMENT",
        autocompletion=complete.experiments,
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option(
        "--method",
        "-m",
        metavar="METHOD",
        help="A method or name:key=value,…; may be repeated. Default: the experiment's.",
        show_default=False,
        autocompletion=complete.methods,
        rich_help_panel=WHAT,
    ),
]
Data = Annotated[
    list[str] | None,
    typer.Option(
        "--data",
        "-d",
        metavar="DATA",
        help="A folder of shards, a folder to keep shards in (data), or a data set as name:key=value,….",
        show_default=False,
        autocompletion=complete.data,
        rich_help_panel=WHAT,
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Any key of the experiment as key=value, or key=[a,b] for each of several values; may be repeated.",
        show_default=False,
        autocompletion=complete.settings,
        rich_help_panel=WHAT,
    ),
]
Source = Annotated[
    str | None,
    typer.Option(
        "--source",
        metavar="SOURCE",
        help="File, folder or URL of data that must be prepared first.",
        show_default=False,
        rich_help_panel=WHAT,
    ),
]
Init = Annotated[
    Path | None,
    typer.Option(
        "--init",
        metavar="RUN",
        help="Start from the global model of a run or a .safetensors file.",
        show_default=False,
        rich_help_panel=WHAT,
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(
        "--budget",
        metavar="TIME",
        help="Stop cleanly after a time such as 90s, 10m or 2h.",
        show_default=False,
        rich_help_panel=LONG,
    ),
]
CheckpointSeconds = Annotated[
    float,
    typer.Option(
        "--checkpoint-seconds",
        min=0,
        metavar="SECONDS",
        show_default=False,
        help="Time between checkpoints. Default: 30.",
        rich_help_panel=LONG,
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", "-n", help="Say what would run and what it would cost.", rich_help_panel=LONG)
]
Runs = Annotated[
    Path,
    typer.Option("--runs", file_okay=False, metavar="FOLDER", help="The folder of run folders.", rich_help_panel=WHERE),
]
RunFolders = Annotated[list[Path], typer.Argument(help="Run folders.", metavar="RUN...", show_default=False)]
RunShards = Annotated[
    Path | None, typer.Option("--data", "-d", help="Where the runs' shards are now.", show_default=False)
]
Device = Annotated[
    str,
    typer.Option(
        "--device", metavar="DEVICE", show_default=False, help="auto (the default), cpu or cuda.", rich_help_panel=WHERE
    ),
]
Jobs = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        max=1024,
        metavar="N",
        help="Runs at once, a process each. Default: one a core; on a GPU one.",
        show_default=False,
        rich_help_panel=HOW,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        "-w",
        min=1,
        max=1024,
        metavar="N",
        help="Processes that share a run's clients. Default: by need.",
        show_default=False,
        rich_help_panel=HOW,
    ),
]
StackSeeds = Annotated[
    int | None,
    typer.Option(
        "--stack-seeds",
        min=2,
        max=64,
        metavar="N",
        help="Seeds of a method at once, stacked in one computation (for a GPU).",
        show_default=False,
        rich_help_panel=HOW,
    ),
]
Launcher = Annotated[
    LauncherName,
    typer.Option(
        "--launcher",
        metavar="LAUNCHER",
        show_default=False,
        help="What carries the runs out: local (the default), ray or slurm.",
        rich_help_panel=WHERE,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="Ray: a cluster's HOST:PORT, or auto. Default: this machine.",
        show_default=False,
        rich_help_panel=WHERE,
    ),
]
Slurm = Annotated[
    list[str] | None,
    typer.Option(
        "--slurm",
        metavar="NAME=VALUE",
        show_default=False,
        help="SLURM: an option of sbatch, such as partition=gpu; may be repeated.",
        rich_help_panel=WHERE,
    ),
]
GpusPerRun = Annotated[
    float,
    typer.Option(
        "--gpus-per-run",
        min=0,
        metavar="N",
        show_default=False,
        help="Ray: GPUs, or a share of one. Default: 0.",
        rich_help_panel=WHERE,
    ),
]
EngineName = Annotated[
    Engine,
    typer.Option(
        "--engine",
        metavar="ENGINE",
        show_default=False,
        help="sequential, stacked, or auto (the default), which goes by what was measured.",
        rich_help_panel=HOW,
    ),
]
Deterministic = Annotated[
    bool,
    typer.Option(
        "--deterministic",
        help="Give the same bits each time on a GPU too; up to 1.7 times slower.",
        rich_help_panel=HOW,
    ),
]
Keep = Annotated[
    KeepModels,
    typer.Option(
        "--keep-models",
        metavar="MODELS",
        show_default=False,
        help="global, personal, none, or auto (the default): personal ones up to 100 MiB.",
        rich_help_panel=HOW,
    ),
]
Store = Annotated[
    ClientStore,
    typer.Option(
        "--client-store",
        metavar="PLACE",
        show_default=False,
        help="Where clients' rows lie meanwhile: memory (the default) or disk.",
        rich_help_panel=HOW,
    ),
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON; its schema is in docs/schemas.")]


def sbatch_options(launcher: LauncherName, options: list[str] | None) -> list[str] | None:
    """What --slurm says, None under another launcher; UsageError for options of a launcher that is not asked for."""
    if launcher == LauncherName.slurm:
        return list(options or [])
    if options:
        raise UsageError("--slurm belongs to --launcher slurm")
    return None


def only_runs(paths: list[Path]) -> list[Path]:
    """Paths without what else lies beside runs, so that `runs/EXPERIMENT/*` names the runs."""
    beside = ("report", "tuning", "tuning.json")
    return [path for path in paths if path.name not in beside or (path / "run.toml").exists()] or paths
