"""Carry runs out as the options of `selffl train` say, and print what came out."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import SelfflError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from ..launchers.one import Stop
    from ..launchers.queue import Launcher, Queue
    from ..planning.plan import PlannedRun, Request
    from ..training.controls import Controls
    from .progress import TrainingProgress
    from .runs_table import RunsBoard
    from .start import Asked, Begun, How


@contextmanager
def queued(planned: list[PlannedRun], how: How, controls: Controls, console: Console) -> Iterator[Queue]:
    """The queue of these runs, to be carried out as `how` says: `with queued(…) as queue: queue.run()`.

    Leaves the program with the command that goes on when they were stopped; SelfflError when one failed.
    """
    from ..launchers.one import Stop
    from ..launchers.queue import Queue

    stop = Stop(how.deadline)
    if console.is_terminal:  # above the live table, which would paint over what is written past it
        stop.tell = lambda text: console.print(text, style="yellow", soft_wrap=True)
    launcher, display = _launcher(planned, how, controls, stop, console)
    runs = planned
    if how.stack_seeds:
        from ..launchers.joint_seeds import by_method

        runs = by_method(planned)
    queue = Queue(runs, launcher, display, stop)
    with display:
        yield queue
    if queue.outcome.stopped:
        reason = "stopped" if stop.signal else "time budget spent"
        again = shlex.join(["selffl", *sys.argv[1:]])
        console.print(f"{reason}; everything so far is saved. Go on with:\n  {again}", soft_wrap=True)
        raise typer.Exit(128 + stop.signal if stop.signal else 0)
    if failed := queue.outcome.failed:
        (run, why), others = failed[0], ", ".join(one.folder.name for one, _ in failed[1:4])
        more = f", {len(failed) - 1} more: {others}" if others else ""
        raise SelfflError(f"{run.folder.name} failed: {why}{more}; the same command tries again")


def _launcher(
    planned: list[PlannedRun], how: How, controls: Controls, stop: Stop, console: Console
) -> tuple[Launcher, RunsBoard | TrainingProgress]:
    """What carries the runs out, and what shows how far they are."""
    from ..launchers.queue import choose_jobs
    from ..planning.cost import too_many
    from .progress import TrainingProgress
    from .runs_table import RunsBoard

    left = list({run.folder: run for run in planned if not (run.folder / "result.json").exists()}.values())
    if controls.team and (how.jobs or how.stack_seeds):
        name = "--jobs" if how.jobs else "--stack-seeds"
        raise UsageError(f"{name}: torchrun's ranks carry out one run after another; leave it away")
    jobs = 1 if controls.team else choose_jobs(how.jobs, how.workers, left, controls.device)
    if not controls.team and (hint := too_many(how.jobs, how.workers, jobs)):
        console.print(hint, style="yellow", soft_wrap=True)
    if how.slurm is not None:
        from ..launchers.slurm import SlurmJobs, read_parameters

        runs = planned[0].folder.parents[1]
        return SlurmJobs(runs, read_parameters(how.slurm), how.jobs, controls), RunsBoard(console, planned)
    if how.ray:
        from ..launchers.ray import RayJobs

        return RayJobs(how.address, how.gpus_per_run, controls), RunsBoard(console, planned)
    if how.stack_seeds:
        from ..launchers.joint_seeds import StackedSeeds

        most = min(how.stack_seeds, len({run.config.seed for run in planned}))
        return StackedSeeds(most, stop, controls), RunsBoard(console, planned)
    if jobs > 1:
        from ..launchers.local import LocalJobs

        return LocalJobs(jobs, stop, controls), RunsBoard(console, planned)
    from ..launchers.in_turn import InTurn

    display = TrainingProgress(console, planned)
    return InTurn(controls, stop, display), display


def tune_first(begun: Begun, console: Console) -> dict[str, Any] | None:
    """Run every trial, then print what was chosen, and return the record of it."""
    from rich.table import Table

    from ..planning.tuning import tune

    def execute(runs: list[PlannedRun]) -> bool:
        with queued(runs, begun.how, replace(begun.controls, keep="none"), console) as queue:
            return not queue.run().stopped

    content = tune(begun.request, execute)
    if content is None:
        return None
    table = Table(title=f"Tuning on validation data, seed {content['seed']}, {content['rounds']} rounds")
    for column in ("method", "trials", "chosen", content["score"]):
        table.add_column(column)
    for label, chosen in content["chosen"].items():
        scores = [row["score"] for row in content["trials"] if row["label"] == label]
        best = max((value for value in scores if value is not None), default=None)
        shown = ", ".join(f"{key}={value}" for key, value in chosen.items())
        table.add_row(label, str(len(scores)), shown, "diverged" if best is None else f"{best:.4f}")
    console.print(table)
    return content


def print_results(
    request: Request, planned: list[PlannedRun], console: Console, asked: Asked, before: Collection[Path] = ()
) -> None:
    """The table of what was planned, beside the experiment's other methods under the same options; what to type next.

    before: folders that were finished when the command began.
    """
    from rich.text import Text

    from ..config.run import WARM_START
    from ..runs.folder import RunFolder
    from .final_table import final_table

    own = list(dict.fromkeys(run.folder for run in planned if run.config.label != WARM_START))
    beside = [run.folder for run in _whole_plan(request) if run.config.label != WARM_START]
    finished = [folder for path in dict.fromkeys([*beside, *own]) if (folder := RunFolder(path)).result is not None]
    trained = [path for path in own if path not in before]
    now = {run.config.label for run in planned if run.folder in trained}
    console.print(final_table(finished, now))
    console.print(
        f"{len(own)} run{'s' * (len(own) != 1)} planned: {len(own) - len(trained)} found finished, {len(trained)} "
        "trained now"
    )
    where = planned[-1].folder if len(planned) == 1 else request.runs / request.experiment.name
    console.print(f"runs: {where}", soft_wrap=True)
    missing = [label for label in request.experiment.methods if label not in {f.record["label"] for f in finished}]
    step = ["train" if missing else "report", asked.experiment, *asked.words(source=bool(missing))]
    if missing and asked.seeds is not None:
        step += ["--seeds", asked.seeds]
    why = f"to compare with {', '.join(missing)}" if missing else "for tables, curves and judged claims"
    line = Text.assemble("next: ", (shlex.join(["selffl", *step]), "bold"), f"  {why}")
    console.print(line, soft_wrap=True)


def _whole_plan(request: Request) -> list[PlannedRun]:
    """The runs of all the experiment's methods with these options and seeds; none where they cannot be planned."""
    from ..planning.plan import plan

    try:
        return plan(replace(request, methods=[], label="")) if request.methods else []
    except SelfflError:
        return []
