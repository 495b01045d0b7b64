"""`selffl export`: what runs measured, in a logger."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class To(StrEnum):
    """Loggers that are known."""

    tensorboard = "tensorboard"
    mlflow = "mlflow"
    wandb = "wandb"
    trackio = "trackio"


def export(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders, or folders of runs.", metavar="RUN...", show_default=False)
    ],
    to: Annotated[To, typer.Option("--to", help="The logger.", show_default=False)],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="PLACE",
            help="A folder; for MLflow also the address of a server. Default: logs/LOGGER.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Go on while runs are under way, until all of them have ended or Ctrl-C."),
    ] = False,
) -> None:
    """Copy what runs measured into TensorBoard, MLflow, Weights & Biases or Trackio.

    Only run folders are read, so a logger can neither change nor slow a run. An export that is made again takes the
    place of the one before. Weights & Biases stays offline unless WANDB_MODE=online is set.
    """
    from ..report.loggers.export import Export, open_logger
    from .terminal import Terminal

    console = Terminal()
    logger = open_logger(to.value, out or f"logs/{to.value}")
    told = Export(logger, to.value, lambda text: console.print(text, soft_wrap=True))
    if follow:
        told.follow(runs)
    else:
        told.once(runs)
    console.print(f"{told.rounds:,} rounds told to {to.value}; next: {logger.hint()}", soft_wrap=True)
