"""`selffl bundle`: an experiment's runs, report and data descriptions in one archive."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError


def bundle(
    report: Annotated[
        Path,
        typer.Argument(
            help="The folder of a report: results/EXPERIMENT or RUNS/EXPERIMENT/report.",
            metavar="REPORT",
            show_default=False,
            file_okay=False,
        ),
    ],
    experiment: Annotated[
        str | None,
        typer.Option(
            "--experiment",
            metavar="EXPERIMENT",
            help="Its name or TOML file. Default: the name of the folder.",
            show_default=False,
        ),
    ] = None,
    runs: Annotated[Path, typer.Option("--runs", file_okay=False, help="Where the run folders are.")] = Path("runs"),
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", dir_okay=False, help="The archive. Default: EXPERIMENT.zip.", show_default=False),
    ] = None,
    models: Annotated[bool, typer.Option("--models/--no-models", help="With the models that the runs kept.")] = True,
    data: Annotated[
        bool, typer.Option("--data/--no-data", help="With the shards, where their terms allow it to hand them on.")
    ] = False,
) -> None:
    """Make one archive of an experiment, to be handed on and checked by `selffl verify`.

    It holds the finished runs (records, metrics, figures by client, models), the report, the experiment, a manifest
    and a Croissant description of the data, the versions of all packages, the licences, and a guide.
    """
    from ..finished.bundle.pack import Contents, pack
    from .terminal import Terminal

    folder = report.parent if report.name == "report" else report
    if not (report / "README.md").is_file():
        raise UsageError(f"{report}: no report in it; selffl report {folder.name} makes one")
    target = out or Path(f"{folder.name}.zip")
    members = pack(Contents(report, experiment or folder.name, runs, models, data), target)
    count = sum(member.name.endswith("/run.toml") for member in members)
    size = target.stat().st_size / 2**20
    console = Terminal()
    console.print(f"{target}: {count} runs, {len(members) + 1} files, {size:.1f} MiB", soft_wrap=True)
    console.print(f"next: selffl verify {target}", soft_wrap=True)
