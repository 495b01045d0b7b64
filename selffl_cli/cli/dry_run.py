"""The table of `selffl train --dry-run`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from ..planning.cost import Timings, choose_workers, predict
from ..planning.plan import PlannedRun
from ..training.controls import Controls
from ..training.federation import Federation
from .progress import name


def readable(size: float) -> str:
    """Bytes for a person."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if size < 1024 or unit == "TiB":
            break
        size /= 1024
    return f"{size:.3g} {unit}"


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def print_costs(planned: list[PlannedRun], workers: int | None, device: str, console: Console) -> None:
    """Cost of every run at FedAvg's budget; one step is timed for each model and data set. Starts nothing."""
    table = Table(title="Dry run: nothing is started")
    for column in ("run", "clients\n(a round)", "para-\nmeters", "local\nsteps", "sent", "memory", "time"):
        table.add_column(column, justify="left" if column == "run" else "right")
    total, left, timings = 0.0, 0, Timings()
    for run in planned:
        if (run.folder / "result.json").exists():
            table.add_row(name(run), *["–"] * 5, "finished")
            continue
        training = Federation(run.config, run.shards, run.folder, None, Controls(device=device, keep="none"))
        cost = predict(training, timings)
        ranks = choose_workers(workers, training, timings=timings)
        seconds = cost.seconds(ranks)
        total, left = total + seconds, left + 1
        table.add_row(name(run), f"{cost.clients} ({cost.cohort})", f"{cost.parameters:,}", f"{cost.steps:,}",
                      readable(cost.bytes_sent), readable(cost.memory), duration(seconds))  # fmt: skip
    console.print(table)
    console.print(
        f"{left} runs to do, about {duration(total)} in all (a step timed on one thread, times FedAvg's steps)"
    )
