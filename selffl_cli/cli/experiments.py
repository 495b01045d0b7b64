"""`selffl experiments`: what ships, and what one of them says once everything it inherits is filled in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from . import complete
from . import options as opt


def experiments(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Print this experiment, with all that it inherits, as one TOML.",
            metavar="[EXPERIMENT]",
            show_default=False,
            autocompletion=complete.experiments,
        ),
    ] = None,
    as_json: opt.Json = False,
) -> None:
    """List the experiments that ship, each with its data, the number of its methods and its title."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from ..config.inherit import experiment_names, experiment_path, read_experiment
    from ..files.toml import toml_text
    from .terminal import Terminal

    if as_json:
        from .as_json import print_json

        names = experiment_names() if name is None else [name]
        print_json([_described(Path(each).stem, read_experiment(experiment_path(each))) for each in names])
        return
    if name is not None:
        typer.echo(toml_text(read_experiment(experiment_path(name))), nl=False)
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("experiment", "data", "methods"):
        table.add_column(column, no_wrap=True, justify="right" if column == "methods" else "left")
    table.add_column("title", overflow="fold")
    for each in experiment_names():
        content = read_experiment(experiment_path(each))
        table.add_row(each, content["data"]["name"], str(len(content["methods"])), Text(content["title"]))
    console = Terminal()
    console.print(table)
    line = Text.assemble("next: ", ("selffl train EXPERIMENT --dry-run", "bold"), "  what it would run and cost")
    console.print(line, soft_wrap=True)


def _described(name: str, content: dict[str, Any]) -> dict[str, Any]:
    title = content.get("title", "")
    return {"name": name, "data": content["data"]["name"], "methods": list(content["methods"]), "title": title}
