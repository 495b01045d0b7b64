"""Many runs at once: a live table in a terminal, one line a finished run elsewhere."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..files.regular import open_regular
from ..launchers.queue import Display, Ending
from ..planning.plan import PlannedRun
from ..runs.folder import METRICS, Busy
from ..runs.listing import TAIL
from .progress import figures, name, total_rounds

REFRESH = 0.5  # seconds
SAID_EVERY = 60.0  # seconds between two lines of a running run, where there is no terminal
COLOURS = {"finished": "blue", "diverged": "yellow", "failed": "red", "stopped": "yellow"}


class RunsBoard(Display):
    """Every run with where it stands, read from the run folders; use as a context manager."""

    def __init__(self, console: Console, runs: list[PlannedRun]) -> None:
        self.console, self.total = console, len({run.folder for run in runs})
        self.ended: list[tuple[PlannedRun, Ending]] = []
        self.seen: dict[Path, dict[str, Any]] = {}  # each running one's last line, with its last evaluation
        self.shown, self.begun = 0.0, time.monotonic()
        self.said: dict[Path, float] = {}  # when each running one last had a line of its own
        # refreshed by hand: a thread of the display would be forked along with the runs
        self.live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None

    def __enter__(self) -> RunsBoard:
        if self.live:
            self.live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.live:
            self.live.stop()

    def show(self, waiting: Iterable[PlannedRun], running: Iterable[PlannedRun]) -> None:
        if self.live and time.monotonic() - self.shown > REFRESH:
            self.shown = time.monotonic()
            self.live.update(self._table(list(waiting), list(running)), refresh=True)
        elif not self.live:
            for run in running:
                if time.monotonic() - self.said.setdefault(run.folder, time.monotonic()) >= SAID_EVERY:
                    self.said[run.folder] = time.monotonic()
                    rounds, text = self._seen(run)
                    self.console.print(f"{name(run)}  round {rounds}  {text}", soft_wrap=True)

    def end(self, run: PlannedRun, ending: Ending, skipped: bool) -> None:
        self.ended.append((run, ending))
        colour, text = COLOURS[ending.status], f"{ending.status} {ending.message}".strip()
        if not skipped and ending.status == "finished":
            line = last_line(run.folder / METRICS) or {}
            seconds = f"done in {line['time']['seconds']:.1f} s  {figures(line)}" if line else "done"
            self.console.print(f"{name(run)}  {seconds}  ({len(self.ended)}/{self.total})", soft_wrap=True)
        elif not skipped:
            self.console.print(f"{name(run)}  {text}", style=colour, soft_wrap=True)

    def wait(self, busy: Busy) -> None:
        self.console.print(busy.waiting, soft_wrap=True)

    def say(self, text: str) -> None:
        self.console.print(text, style="yellow", soft_wrap=True)

    def _seen(self, run: PlannedRun) -> tuple[str, str]:
        """How far a running run is, round of how many, and the figures of its last line and evaluation."""
        line = last_line(run.folder / METRICS)
        if line is not None:
            self.seen[run.folder] = {"eval": self.seen.get(run.folder, {}).get("eval", {}), **line}
        known = self.seen.get(run.folder)
        return f"{known['round'] if known else '–'}/{total_rounds(run)}", figures(known) if known else "starting"

    def _table(self, waiting: list[PlannedRun], running: list[PlannedRun]) -> Table:
        """Running runs first, then ended and waiting ones as far as the screen has room."""
        table = Table("run", "round", "state", box=None, pad_edge=False, expand=True)
        # which run it is and how far are never cut: what is left of the line is for figures, cut at their end
        rows = [(name(run), *self._seen(run)) for run in running]
        widest = max((len(name(run)) for run in [*running, *waiting, *(run for run, _ in self.ended)]), default=0)
        left = self.console.width - widest - max((len(rounds) for _, rounds, _ in rows), default=5) - 4
        for shown, rounds, text in rows:
            table.add_row(shown, rounds, Text(text[: max(left, 0)]))
        room = max(0, self.console.height - len(running) - 4)
        others = [(run, ending.status) for run, ending in reversed(self.ended)] + [(run, "waiting") for run in waiting]
        for run, state in others[:room]:
            colour = COLOURS.get(state, "dim")
            table.add_row(name(run), "", Text(state, colour))
        minutes, seconds = divmod(int(time.monotonic() - self.begun), 60)
        table.caption = (
            f"{len(self.ended)} of {self.total} ended, {len(running)} running, {len(waiting)} waiting, "
            f"{minutes}:{seconds:02}"
        )
        return table


def last_line(path: Path) -> dict[str, Any] | None:
    """The last whole line of a metrics.jsonl that may be growing; None when there is none, or it is too long."""
    try:
        with open_regular(path) as file:
            file.seek(max(0, path.stat().st_size - TAIL))
            return json.loads(file.read().rpartition(b"\n")[0].rpartition(b"\n")[2])
    except (OSError, ValueError):
        return None
