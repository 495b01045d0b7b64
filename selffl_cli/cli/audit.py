"""`selffl audit NAME RUN…`: what finished runs give away."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import options as opt

if TYPE_CHECKING:
    from ..finished.run import FinishedRun

Runs = Annotated[
    list[Path], typer.Argument(help="Run folders.", metavar="RUN...", show_default=False, callback=opt.only_runs)
]
Data = Annotated[Path | None, typer.Option("--data", "-d", help="Where the runs' shards are now.", show_default=False)]

CONTEXT = {"help_option_names": ["-h", "--help"]}
app = typer.Typer(add_completion=False, context_settings=CONTEXT, no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Attack finished runs: what their models give away of their training data, and of groups.

    Each audit prints a table and keeps its figures in the run folder, where `selffl report` finds them.
    """


@app.command()
def membership(runs: Runs, data: Data = None, as_json: opt.Json = False) -> None:
    """Tell training samples from others by their loss, for global and personal models."""
    from ..finished.audits.membership import membership as attack

    _audit("membership", runs, data, attack, "guessing: auc 0.5, tpr 0.01 and 0.001", as_json)


@app.command("canary-users")
def canary_users(runs: Runs, as_json: opt.Json = False) -> None:
    """Epsilon as canary users show it, beside the accountant's (train with --set train.privacy=user:…,canaries=200)."""
    from ..finished.audits.canary_users import canary_users as attack
    from ..runs.folder import RunFolder

    note = "mean and std: cosines in units of what chance gives; an estimate, no upper bound"
    _show("canary-users", [(path, attack(RunFolder.open(path))) for path in runs], note, as_json)


@app.command("canary-text")
def canary_text(runs: Runs, data: Data = None, as_json: opt.Json = False) -> None:
    """Read a planted command back out of a tagger (ModIvA): prepare snips-tags --canary 50, train model bilstm."""
    from ..finished.audits.canary_text import canary_text as attack

    _audit(
        "canary-text", runs, data, attack, "guessing: digits 0.1, exact 0.0001, hamming 3.6, rank about 5000", as_json
    )


@app.command()
def sensitivity(runs: Runs, data: Data = None, as_json: opt.Json = False) -> None:
    """Accumulated prediction sensitivity: do models look where the client's group shows?"""
    from ..finished.audits.sensitivity import sensitivity as attack

    _audit(
        "sensitivity",
        runs,
        data,
        attack,
        "relative above 1: more sensitive where the group shows than elsewhere",
        as_json,
    )


def _audit(
    name: str,
    runs: list[Path],
    data: Path | None,
    attack: Callable[[FinishedRun], dict[str, float]],
    note: str,
    as_json: bool,
) -> None:
    import torch

    from ..finished.run import FinishedRun
    from .terminal import Terminal

    torch.set_num_threads(1)
    opened = [(path, FinishedRun.open(path, data)) for path in runs]  # all of them, before any is attacked
    made = []
    with Terminal(stderr=True).status("starting") as status:
        for number, (path, run) in enumerate(opened, 1):
            status.update(f"{name}: run {number} of {len(runs)} …")
            made.append((path, attack(run)))
    _show(name, made, note, as_json)


def _show(name: str, made: list[tuple[Path, dict[str, float]]], note: str, as_json: bool) -> None:
    """One row a run and model; the figures are kept in the run folders."""
    from rich import box
    from rich.table import Table

    from ..runs.audits import write_audit
    from .as_json import print_json
    from .terminal import Terminal

    for path, figures in made:
        write_audit(path, name, figures)
    if as_json:
        print_json([row for path, figures in made for row in _rows(path, figures)])
        return
    columns = list(dict.fromkeys(key.partition(".")[2] for _, figures in made for key in figures))
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, caption=note, caption_justify="left")
    for head in ("run", "of", *columns):
        table.add_column(head.replace("_", " "), justify="left" if head in ("run", "of") else "right", overflow="fold")
    for path, figures in made:
        for kind in dict.fromkeys(key.partition(".")[0] for key in figures):
            cells = [figures.get(f"{kind}.{column}") for column in columns]
            table.add_row(path.name, kind, *("" if cell is None else f"{cell:.4g}" for cell in cells))
    Terminal().print(table)


def _rows(path: Path, figures: dict[str, float]) -> list[dict[str, Any]]:
    """One row a model, as data."""
    rows: dict[str, dict[str, float]] = {}
    for key, value in figures.items():
        kind, _, name = key.partition(".")
        rows.setdefault(kind, {})[name] = value
    return [{"run": str(path), "model": kind, "figures": own} for kind, own in rows.items()]
