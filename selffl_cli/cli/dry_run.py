"""The table of `selffl train --dry-run`."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from ..planning.cost import Cost, Timings, choose_workers, predict
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


def print_costs(
    planned: list[PlannedRun], workers: int | None, device: str, console: Console, as_json: bool = False
) -> None:
    """Cost of every run at FedAvg's budget; one step is timed for each model and data set. Starts nothing."""
    rows = costs(planned, workers, device)
    if as_json:
        from .as_json import print_json

        print_json(rows)
        return
    table = Table(title="Dry run: nothing is started")
    for column in ("run", "clients\n(a round)", "para-\nmeters", "local\nsteps", "sent", "memory", "time"):
        table.add_column(column, justify="left" if column == "run" else "right")
    for row in rows:
        if row["finished"]:
            table.add_row(row["run"], *["–"] * 5, "finished")
            continue
        table.add_row(
            row["run"], f"{row['clients']} ({row['clients_a_round']})", f"{row['parameters']:,}",
            f"{row['local_steps']:,}", readable(row["bytes_sent"]), readable(row["memory_bytes"]),
            duration(row["seconds"]),
        )  # fmt: skip
    left = [row["seconds"] for row in rows if not row["finished"]]
    console.print(table)
    console.print(
        f"{len(left)} runs to do, about {duration(sum(left))} in all (a step timed on one thread, times FedAvg's steps)"
    )


def costs(planned: list[PlannedRun], workers: int | None, device: str) -> list[dict[str, Any]]:
    """A row a run: its name, whether it is finished, and what it will cost when it is not."""
    rows: list[dict[str, Any]] = []
    timings = Timings()
    known: dict[str, tuple[Cost, int]] = {}  # runs that differ in their seed alone cost the same
    for run in planned:
        if (run.folder / "result.json").exists():
            rows.append({"run": name(run), "finished": True})
            continue
        alike = run.config.model_copy(update={"seed": 0, "label": "", "init": "", "start": {}}).model_dump_json()
        if alike not in known:
            training = Federation(run.config, run.shards, run.folder, None, Controls(device=device, keep="none"))
            known[alike] = predict(training, timings), choose_workers(workers, training, timings=timings)
        cost, ranks = known[alike]
        rows.append({
            "run": name(run), "finished": False, "clients": cost.clients, "clients_a_round": cost.cohort,
            "parameters": cost.parameters, "local_steps": cost.steps, "bytes_sent": cost.bytes_sent,
            "memory_bytes": int(cost.memory), "seconds": cost.seconds(ranks),
        })  # fmt: skip
    return rows
