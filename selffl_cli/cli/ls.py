"""`selffl ls`: the runs that are there, and where each one stands."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from . import complete
from . import options as opt
from .as_json import print_json

COLOURS = {"finished": "blue", "running": "green", "stopped": "yellow", "diverged": "yellow", "damaged": "red"}
HEADS = ("run", "state", "round", "left", "figures (test)")
MAIN = ("squared_error", "perplexity", "accuracy")  # as metrics.judged_by has them, which would bring numpy along
EVERY = 2.0  # seconds between two looks of --watch


def ls(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            help="A folder of runs, or the name of an experiment. Default: every run in the folder of --runs.",
            metavar="[FOLDER]...",
            show_default=False,
            autocompletion=complete.experiments,
        ),
    ] = None,
    runs: opt.Runs = Path("runs"),
    trials: Annotated[bool, typer.Option("--trials", help="List the trials of `selffl tune` too.")] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Look again every two seconds, until Ctrl-C. Running runs come first.")
    ] = False,
    as_json: opt.Json = False,
) -> None:
    """List runs with their state, round, time left and figures on the test data.

    Everything is read from the run folders, so the list also works for runs of other terminals, of Ray, of SLURM, and
    on a machine that sees the folder. A run is running while a process holds the lock of its folder. A run that was
    stopped goes on when the command that began it is given again.
    """
    look = Look([Path(text) for text in what or [] if Path(text).is_dir()], runs, trials)
    look.experiments = [Path(text).stem for text in what or [] if not Path(text).is_dir()]
    if watch:
        _watch(look, as_json)
    elif as_json:
        print_json(look.rows())
    else:
        rows = look.rows()
        if not rows:
            typer.echo(f"no runs in {', '.join(map(_safe, look.places()))}; selffl train makes them")
        for line, state in lines(rows, shutil.get_terminal_size().columns):
            typer.secho(line, fg=COLOURS.get(state))


class Look:
    """Where is looked for runs; a run that has ended is read once."""

    def __init__(self, folders: list[Path], runs: Path, trials: bool) -> None:
        self.folders, self.runs, self.trials = folders, runs, trials
        self.experiments: list[str] = []
        self.ended: dict[Path, dict[str, Any]] = {}

    def places(self) -> list[str]:
        places = [] if self.folders and not self.experiments else [self.runs]
        return [str(place) for place in (*self.folders, *places)]

    def rows(self) -> list[dict[str, Any]]:
        from ..runs.listing import find

        found = [run for folder in self.folders for run in find(folder, trials=self.trials)]
        if self.experiments or not self.folders:
            found += find(self.runs, self.experiments, self.trials)
        return [self._row(path) for path in dict.fromkeys(found)]

    def _row(self, path: Path) -> dict[str, Any]:
        from ..runs.listing import describe

        if path not in self.ended:
            row = describe(path)
            if row["state"] not in ("finished", "diverged"):
                return row
            self.ended[path] = row
        return self.ended[path]


def _watch(look: Look, as_json: bool) -> None:
    """Repaint in a terminal; elsewhere print what has changed."""
    if as_json or not sys.stdout.isatty():
        before: dict[str, dict[str, Any]] = {}
        while True:
            rows = look.rows()
            changed = [row for row in rows if before.get(row["path"], {}) != {**row, "seconds_left": None}]
            before = {row["path"]: {**row, "seconds_left": None} for row in rows}
            for row in changed:
                typer.echo(json.dumps(row) if as_json else "  ".join(filter(None, (row["experiment"], *_cells(row)))))
            time.sleep(EVERY)
    from rich.live import Live
    from rich.text import Text

    from .terminal import Terminal

    console = Terminal()
    with Live(console=console, auto_refresh=False) as live:
        while True:
            rows = sorted(look.rows(), key=lambda row: row["state"] != "running")
            room = max(1, console.height - 2)
            shown = list(lines(rows, console.width, grouped=False))
            cut = [*shown[: room - 2], ("…", ""), shown[-1]] if len(shown) > room else shown
            text = Text("\n").join(Text(line, COLOURS.get(state, "")) for line, state in cut)
            live.update(text, refresh=True)
            time.sleep(EVERY)


def lines(rows: Sequence[dict[str, Any]], width: int, grouped: bool = True) -> list[tuple[str, str]]:
    """(line, state) of the list, none wider than `width` where its words allow; the last line counts the states.

    Made by hand, since a table of rich takes a millisecond a row.
    """
    if not rows:
        return []
    cells = [_cells(row) for row in rows]
    if not grouped:
        cells = [
            (f"{_safe(row['experiment'])}: {first}", *rest) for row, (first, *rest) in zip(rows, cells, strict=True)
        ]
    widths = [max(len(head), *(len(row[i]) for row in cells)) for i, head in enumerate(HEADS)]
    used = [i for i in range(len(HEADS)) if i == 0 or any(row[i] for row in cells)]
    narrow = sum(widths[i] + 2 for i in used) > width  # then the figures stand on a line of their own
    columns = [i for i in used if not (narrow and i == len(HEADS) - 1)]

    def line(row: Sequence[str]) -> list[str]:
        text = "  ".join(row[i].rjust(widths[i]) if i in (2, 3) else row[i].ljust(widths[i]) for i in columns).rstrip()
        return [text, *([f"    {row[-1]}"] if narrow and row[-1] else [])]

    made = [(text, "") for text in line([*HEADS[:-1], "" if narrow else HEADS[-1]])]
    experiment = None
    for row, cell in zip(rows, cells, strict=True):
        if grouped and row["experiment"] != experiment:
            experiment = row["experiment"]
            made.append((f"{_safe(experiment)}:", ""))
        made += [(text, row["state"]) for text in line(cell)]
    counts = Counter(row["state"] for row in rows)
    said = ", ".join(f"{counts[state]:,} {state}" for state in COLOURS if counts[state])
    return [*made, (f"{len(rows):,} run{'s' * (len(rows) != 1)}: {said}", "")]


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    round_ = "" if row["round"] is None else f"{row['round']}/{row['rounds'] or '?'}"
    left = "" if row["seconds_left"] is None else _time(row["seconds_left"])
    return (_safe(_name(row)), row["state"], round_, left, _safe(row.get("why", "")) or _figures(row["figures"]))


def _safe(text: str) -> str:
    from ..errors import one_line

    return text if text.isprintable() and len(text) < 200 else one_line(text, 200)


def _time(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes}:{seconds:02} min" if minutes else f"{seconds} s"


def _name(row: dict[str, Any]) -> str:
    """Label, seed and the point of the sweep; of a damaged run the name of its folder."""
    if row["seed"] is None:
        return str(row["label"])
    setting = ",".join(f"{key.rpartition('.')[2]}={value}" for key, value in row["setting"].items())
    return f"{row['label']} seed {row['seed']}" + (f" {setting}" if setting else "")


def _figures(figures: dict[str, Any]) -> str:
    """The main figure of the global and of the personal models."""
    shown = []
    for kind in ("global", "personal"):
        if found := figures.get(kind):
            metric = next((name for name in MAIN if name in found), MAIN[-1])
            value = found.get(metric)
            text = "–" if value is None else f"{value:.1%}" if metric == "accuracy" else f"{value:.3g}"
            shown.append(f"{kind} {text}")
    return "  ".join(shown)
