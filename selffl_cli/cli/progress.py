"""Progress of training: live bars in a terminal, one line a round elsewhere."""

from __future__ import annotations

from collections.abc import Iterable
from types import TracebackType
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from ..launchers.queue import Display, Ending
from ..metrics.judged_by import MAIN
from ..planning.plan import PlannedRun
from ..runs.folder import Busy, RunFolder


def figures(metrics: dict[str, Any]) -> str:
    """Accuracies (or errors), s0, mean steps and speed of a round, as far as it has them."""
    parts = []
    test = metrics.get("eval", {}).get("test", {})
    for kind in ("global", "personal"):
        for metric in MAIN:
            value = test.get(kind, {}).get(metric.name)
            if value is not None:
                parts.append(f"{kind} {metric.show(value)}")
    if "privacy" in metrics:
        epsilon = metrics["privacy"]["epsilon"]
        parts.append("epsilon ∞" if epsilon is None else f"epsilon {epsilon:.2f}")
    s0 = metrics.get("method", {}).get("s0")
    if s0 is not None:
        parts.append(f"s0 {s0:.3g}")
    steps = metrics.get("per_client", {}).get("steps")
    if steps:
        parts.append(f"{sum(steps) / len(steps):.1f} steps")
    parts.append(f"{metrics['time']['steps_per_second']:.0f}/s")
    return "  ".join(parts)


def name(run: PlannedRun) -> str:
    setting = ",".join(f"{key.rpartition('.')[2]}={value}" for key, value in run.config.setting.items())
    return f"{run.config.label} seed {run.config.seed}" + (f" {setting}" if setting else "")


class Bars(Progress):
    """Progress bars with a line of figures below."""

    figures = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        if self.figures:
            yield Text(f"  {self.figures}", style="dim", no_wrap=True, overflow="ellipsis")


class TrainingProgress(Display):
    """One run after another, round by round; use as a context manager."""

    def __init__(self, console: Console, runs: list[PlannedRun]) -> None:
        self.console, self.live = console, console.is_terminal
        self.total = len({run.folder for run in runs})
        self.seen: dict[str, Any] = {}  # the last evaluation, shown until the next one
        self.bars = Bars(
            TextColumn("{task.description}", markup=False), BarColumn(bar_width=None), MofNCompleteColumn(),
            TimeRemainingColumn(compact=True), console=console, transient=True, disable=not self.live,
        )  # fmt: skip
        self.all: TaskID | None = None
        self.run: PlannedRun | None = None  # whose rounds the second bar counts
        self.task: TaskID | None = None

    def __enter__(self) -> TrainingProgress:
        self.bars.start()
        self.all = self.bars.add_task("runs", total=self.total)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.stop()

    def show(self, waiting: Iterable[PlannedRun], running: Iterable[PlannedRun]) -> None:
        for run in running:
            if run is not self.run:
                self._clear()
                self.run, self.seen = run, {}
                self.task = self.bars.add_task(name(run), total=total_rounds(run))

    def line(self, run: PlannedRun, metrics: dict[str, Any]) -> None:
        if self.live:
            assert self.task is not None
            self.seen |= {key: metrics[key] for key in ("eval", "privacy") if key in metrics}
            self.bars.figures = figures({**metrics, **self.seen})
            self.bars.update(self.task, completed=metrics["round"])
        else:
            rounds = f"round {metrics['round']}/{total_rounds(run)}"
            loss = metrics.get("train_loss")
            shown = f"  loss {loss:.4f}" if loss is not None else ""
            self.console.print(f"{name(run)}  {rounds}{shown}  {figures(metrics)}", soft_wrap=True)

    def end(self, run: PlannedRun, ending: Ending, skipped: bool) -> None:
        self._clear()
        if self.all is not None:
            self.bars.advance(self.all)
        if ending.status not in ("finished", "diverged"):
            return  # the end of the command says why
        result = RunFolder(run.folder).result or {}
        if why := result.get("privacy", {}).get("stopped"):
            self.console.print(f"{name(run)} stopped {why}", style="yellow", soft_wrap=True)
        if ending.status == "diverged":
            self.console.print(f"{name(run)} diverged: {ending.message}", style="yellow", soft_wrap=True)
        elif not skipped:
            self.console.print(f"{name(run)}  done in {result['seconds']:.1f} s", soft_wrap=True)

    def wait(self, busy: Busy) -> None:
        self._clear()
        self.console.print(busy.waiting, soft_wrap=True)

    def say(self, text: str) -> None:
        self.console.print(text, style="yellow", soft_wrap=True)

    def _clear(self) -> None:
        """Take the bar of the last run away."""
        if self.task is not None:
            self.bars.remove_task(self.task)
            self.run = self.task = None


def total_rounds(run: PlannedRun) -> int:
    train = run.config.train
    return train.rounds * (run.shards.periods if train.periods else 1)
