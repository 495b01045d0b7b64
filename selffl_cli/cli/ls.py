"""`selffl ls`: the runs that are there, and where each one stands."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import complete
from . import options as opt

if TYPE_CHECKING:
    from ..runs.folder import RunFolder

COLOURS = {"finished": "blue", "running": "green", "unfinished": "yellow", "diverged": "yellow", "damaged": "red"}


def ls(
    experiment: Annotated[
        list[str] | None,
        typer.Argument(
            help="Only the runs of these experiments.",
            metavar="[EXPERIMENT]...",
            show_default=False,
            autocompletion=complete.experiments,
        ),
    ] = None,
    runs: opt.Runs = Path("runs"),
    trials: Annotated[bool, typer.Option("--trials", help="List the trials of `selffl tune` too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list instead of a table.")] = False,
) -> None:
    """List runs with their state, round and figures on the test data.

    A run is running when a process on this machine holds the lock of its folder. One that is unfinished and not
    running was stopped; the command that began it goes on with it.
    """
    found = [describe(folder) for folder in find(runs, [Path(name).stem for name in experiment or []], trials)]
    if as_json:
        typer.echo(json.dumps(found, indent=1))
        return
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from .terminal import Terminal

    console = Terminal()
    if not found:
        console.print(f"no runs in {runs}; selffl train makes them", soft_wrap=True)
        return
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for column in ("experiment", "run", "state", "round", "figures (test)"):
        table.add_column(column, overflow="fold", justify="right" if column == "round" else "left")
    for row in found:
        table.add_row(
            Text(row["experiment"]), Text(_name(row)), Text(row["state"], COLOURS[row["state"]]),
            "" if row["round"] is None else f"{row['round']}/{row['rounds'] or '?'}", Text(_figures(row["figures"])),
        )  # fmt: skip
    console.print(table)


def find(runs: Path, experiments: list[str], trials: bool = False) -> list[RunFolder]:
    """Every run folder below `runs`, in order of experiment and name."""
    from ..config.validation import TRIALS
    from ..runs.folder import RECORD, RunFolder

    paths = [*runs.glob(f"*/*/{RECORD}"), *(runs.glob(f"*/{TRIALS}/*/{RECORD}") if trials else ())]
    folders = [path.parent for path in paths]
    return [
        RunFolder(path) for path in sorted(folders) if not experiments or path.relative_to(runs).parts[0] in experiments
    ]


def describe(folder: RunFolder) -> dict[str, Any]:
    """What is known of a run: "path", "experiment", "label", "seed", "setting", "state", "round", "rounds", "figures".

    state: finished, diverged, running (with "process"), unfinished, or damaged (with "why"). figures: of the last
    evaluation on the test data, {"global": {…}, "personal": {…}}.
    """
    from ..errors import SelfflError
    from ..runs.folder import METRICS, Busy

    row: dict[str, Any] = {"path": str(folder.path), "experiment": folder.path.parent.name, "label": folder.path.name}
    row |= {"seed": None, "setting": {}, "state": "damaged", "round": None, "rounds": None, "figures": {}}
    try:
        record, result = folder.record, folder.result
        row |= {"experiment": record["experiment"], "label": record["label"], "seed": record["seed"]}
        row |= {"setting": record.get("setting", {}), "rounds": _rounds(record)}
        lines = list(last_lines(folder.path / METRICS))
        row["round"] = lines[0]["round"] if lines else 0
        row["figures"] = next((line["eval"]["test"] for line in lines if "test" in line.get("eval", {})), {})
        row["state"] = "unfinished" if result is None else result["status"]
        if result is None:
            folder.check_free()
        else:
            row["round"] = result["round"]
            row["figures"] = result.get("final", {}).get("test", row["figures"])
    except Busy as busy:
        row |= {"state": "running", "process": busy.owner}
    except SelfflError as error:
        row |= {"state": "damaged", "why": str(error)}
    return row


def _rounds(record: dict[str, Any]) -> int | None:
    """Rounds that the run was asked for, over all periods."""
    rounds = record["train"].get("rounds")
    periods = record["data"].get("arguments", {}).get("periods") if record["train"].get("periods") else 1
    return rounds * periods if isinstance(rounds, int) and isinstance(periods, int) else None


def last_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The lines at the end of a metrics.jsonl that may be growing, newest first; [] when there are none to read."""
    from ..files.regular import open_regular
    from ..runs.schema import Line, check
    from .runs_table import TAIL

    try:
        with open_regular(path) as file:
            start = max(0, path.stat().st_size - TAIL)
            file.seek(start)
            lines = file.read().split(b"\n")
    except OSError:
        return
    for line in reversed(lines[1 if start else 0 : -1]):  # the first may be cut off, the last is not whole
        try:
            yield check(Line, json.loads(line))
        except (ValueError, TypeError, RecursionError):
            return


def _name(row: dict[str, Any]) -> str:
    """Label, seed and the point of the sweep; of a damaged run the name of its folder."""
    if row["seed"] is None:
        return row["label"]
    setting = ",".join(f"{key.rpartition('.')[2]}={value}" for key, value in row["setting"].items())
    return f"{row['label']} seed {row['seed']}" + (f" {setting}" if setting else "")


def _figures(figures: dict[str, Any]) -> str:
    """The main figure of the global and of the personal models."""
    from ..metrics.names import ACCURACY, main_metric

    shown = []
    for kind in ("global", "personal"):
        found = figures.get(kind)
        if found:
            metric = main_metric(found)
            value = found.get(metric)
            text = "–" if value is None else f"{value:.1%}" if metric == ACCURACY else f"{value:.3g}"
            shown.append(f"{kind} {text}")
    return "  ".join(shown)
