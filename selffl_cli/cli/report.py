"""`selffl report`."""

from __future__ import annotations

import shlex
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from . import options as opt


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
        Path | None,
        typer.Option(
            "--out",
            "-o",
            file_okay=False,
            help="Write to OUT/EXPERIMENT, such as results. Default: RUNS/EXPERIMENT/report.",
            show_default=False,
        ),
    ] = None,
    x: Annotated[list[Axis], typer.Option("--x", "-x", help="Draw curves over this; may be repeated.")] = DEFAULT_AXES,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 when a required claim is not reproduced.")] = False,
    include: Annotated[
        bool, typer.Option("--include", help="Show runs that the TOML does not state too, under labels of their own.")
    ] = False,
    svg: Annotated[bool, typer.Option("--svg", help="Write each picture as SVG too.")] = False,
    data: opt.Data = None,
    rounds: Annotated[int | None, typer.Option("--rounds", help="As in train.", show_default=False)] = None,
    set_: opt.Settings = None,
    init: opt.Init = None,
    as_json: opt.Json = False,
) -> None:
    """Turn an experiment's runs into tables, curves and judged claims.

    Reads RUNS/EXPERIMENT and writes RUNS/EXPERIMENT/report, or OUT/EXPERIMENT: a page (README.md) with the claims
    ledger, tables in Markdown, LaTeX and CSV, and pictures. The same runs give the same bytes. A report holds the runs
    that the experiment's TOML states as it is now; runs that were trained with --data, --rounds, --set or --init are
    shown when the same options are given here.
    """
    from rich.text import Text

    from ..config.experiment import load_experiment
    from ..planning.owner import check_owner, take
    from ..planning.stated import given
    from ..planning.tuning import tuned
    from .start import Asked, read_settings
    from .terminal import Terminal

    asked = Asked(experiment, [], list(data or []), list(set_ or []), runs, init=init, rounds=rounds)
    overrides, places = read_settings(asked)
    loaded = load_experiment(experiment, overrides)
    check_owner(experiment, runs / loaded.name)
    if out is not None:
        check_owner(experiment, out / loaded.name)
    stated = given(places.shards, init)
    if check and not any(claim.required for claim in loaded.claims):
        raise UsageError(
            f"--check: {loaded.name} states no claim with required = true, so there is nothing that could fail; state "
            "one, or leave --check out"
        )
    command = ["selffl", "report", experiment, *asked.words(), *(["--out", str(out)] if out is not None else [])]
    command += ["--include"] * include + ["--svg"] * svg
    command += [word for axis in x for word in ("--x", axis.value)] if x != DEFAULT_AXES else []

    console = Terminal(stderr=as_json)
    with Terminal(stderr=True).status("starting") as status:
        from ..report.build import Selection, build
        from ..report.console import print_report
        from ..report.ledger import check as check_claims

        made = build(
            tuned(loaded, runs, stated=stated, say=lambda text: console.print(text, style="yellow")),
            runs,
            out,
            [axis.value for axis in dict.fromkeys(x)],
            shlex.join(command),
            lambda text: status.update(Text(f"{text} …")),
            Selection(stated, include, svg),
        )
    if out is not None:
        take(experiment, made.folder)
    if as_json:
        from ..report.as_data import as_data
        from .as_json import print_json

        print_json(as_data(made))
    else:
        print_report(made, console)
    console.print(f"page: {made.folder / 'README.md'}", soft_wrap=True)
    if check:
        check_claims(made.entries)
