"""`selffl report`."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Axis(StrEnum):
    """What curves are drawn over."""

    rounds = "rounds"
    gradients = "gradients"
    bytes = "bytes"
    seconds = "seconds"


DEFAULT_AXES = [Axis.rounds, Axis.gradients, Axis.bytes]


def report(
    experiment: Annotated[
        str,
        typer.Argument(help="An experiment's name or TOML file.", metavar="EXPERIMENT", show_default=False),
    ],
    runs: Annotated[Path, typer.Option("--runs", file_okay=False, help="Where the run folders are.")] = Path("runs"),
    out: Annotated[
        Path, typer.Option("--out", "-o", file_okay=False, help="Where to write; in a folder of the experiment's name.")
    ] = Path("results"),
    x: Annotated[list[Axis], typer.Option("--x", "-x", help="Draw curves over this; may be repeated.")] = DEFAULT_AXES,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 when a required claim is not reproduced.")] = False,
) -> None:
    """Turn an experiment's runs into tables, curves and judged claims.

    Reads RUNS/EXPERIMENT and writes OUT/EXPERIMENT: a page (README.md) with the claims ledger, tables in
    Markdown, LaTeX and CSV, and pictures in PNG and SVG. The same runs give the same bytes.
    """
    from rich.text import Text

    from ..config.experiment import load_experiment
    from ..planning.tuning import tuned
    from .terminal import Terminal

    loaded = tuned(load_experiment(experiment), runs)
    command = ["selffl", "report", experiment]
    command += ["--runs", str(runs)] * (runs != Path("runs")) + ["--out", str(out)] * (out != Path("results"))
    command += [word for axis in x for word in ("--x", axis.value)] if x != DEFAULT_AXES else []

    console = Terminal()
    with Terminal(stderr=True).status("starting") as status:
        from ..report.build import build
        from ..report.console import print_report
        from ..report.ledger import check as check_claims

        made = build(
            loaded,
            runs,
            out,
            [axis.value for axis in dict.fromkeys(x)],
            shlex.join(command),
            lambda text: status.update(Text(f"{text} …")),
        )
    print_report(made, console)
    console.print(f"page: {made.folder / 'README.md'}", soft_wrap=True)
    if check:
        check_claims(made.entries)
