"""Carry runs out as the options of `selffl train` say, and print what came out."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import SelfflError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from ..engine.parallel.torchrun import Team
    from ..launchers.one import Outcome, Stop
    from ..planning.plan import PlannedRun, Request
    from ..training.loop import Training
    from .start import Asked


@dataclass
class RayOptions:
    """Where Ray is, and what a run gets of it."""

    address: str | None
    gpus_per_run: float


@dataclass
class RunOptions:
    """How runs are carried out; none of it changes a number."""

    workers: int | None
    device: str
    engine: Any
    keep: Any
    client_store: Any
    deadline: float | None
    checkpoint_seconds: float
    team: Team | None
    jobs: int | None
    ray: RayOptions | None
    stack_seeds: int | None = None


def check_launcher(ray: bool, jobs: int | None, workers: int | None, address: str | None, gpus: float) -> None:
    """Options of one launcher that the other does not have are bad usage."""
    if not ray and (address is not None or gpus):
        raise UsageError("--address and --gpus-per-run belong to --launcher ray")
    if ray and (jobs is not None or workers is not None):
        raise UsageError(
            "--launcher ray: Ray decides how many runs go at once, one core each; leave --jobs and --workers"
        )


def carry_out(planned: list[PlannedRun], options: RunOptions, console: Console) -> Outcome:
    """Carry out the runs; leaves the program with the command that goes on when they were stopped."""
    from ..launchers.one import Stop

    stop = Stop(options.deadline)
    if console.is_terminal:  # above the live table, which would paint over what is written past it
        stop.tell = lambda text: console.print(text, style="yellow", soft_wrap=True)
    outcome = _carry_out(planned, options, stop, console)
    again = shlex.join(["selffl", *sys.argv[1:]])
    if outcome.stopped:
        reason = "stopped" if stop.signal else "time budget spent"
        console.print(f"{reason}; everything so far is saved. Go on with:\n  {again}", soft_wrap=True)
        raise typer.Exit(128 + stop.signal if stop.signal else 0)
    if outcome.failed:
        (run, why), count = outcome.failed[0], len(outcome.failed)
        others = (
            f", {count - 1} more: {', '.join(one.folder.name for one, _ in outcome.failed[1:4])}" if count > 1 else ""
        )
        raise SelfflError(f"{run.folder.name} failed: {why}{others}; the same command tries again")
    return outcome


def _carry_out(planned: list[PlannedRun], options: RunOptions, stop: Stop, console: Console) -> Outcome:
    from ..launchers.in_turn import execute
    from ..launchers.local import LocalJobs
    from ..launchers.queue import choose_jobs, run_all
    from ..planning.cost import choose_workers, memory_hint, too_many
    from .progress import TrainingProgress
    from .runs_table import RunsBoard

    left = list({run.folder: run for run in planned if not (run.folder / "result.json").exists()}.values())
    if options.team and (options.jobs or options.stack_seeds):
        name = "--jobs" if options.jobs else "--stack-seeds"
        raise UsageError(f"{name}: torchrun's ranks carry out one run after another; leave it away")
    jobs = 1 if options.team else choose_jobs(options.jobs, options.workers, left, options.device)

    def workers(training: Training) -> int:
        if jobs == 1 and (hint := memory_hint(training)):
            console.print(hint, style="yellow", soft_wrap=True)
        return choose_workers(options.workers, training, jobs)

    settings: dict[str, Any] = {
        "device": options.device, "engine": options.engine, "keep": options.keep,
        "client_store": options.client_store, "checkpoint_seconds": options.checkpoint_seconds,
    }  # fmt: skip
    if not options.team and (hint := too_many(options.jobs, options.workers, jobs)):
        console.print(hint, style="yellow", soft_wrap=True)
    if options.ray:
        from ..launchers.ray import RayJobs

        gpus = options.ray.gpus_per_run
        settings["device"] = "cuda" if gpus else "cpu"
        with RunsBoard(console, planned) as board:
            return run_all(planned, RayJobs(options.ray.address, gpus, settings), board, stop)
    if options.stack_seeds:
        from ..launchers.joint_seeds import StackedSeeds, by_method

        most = min(options.stack_seeds, len({run.config.seed for run in planned}))
        settings |= {"workers": lambda training: 1, "engine": "stacked"}
        with RunsBoard(console, planned) as board:
            return run_all(by_method(planned), StackedSeeds(most, stop, settings), board, stop)
    if jobs > 1:
        with RunsBoard(console, planned) as board:
            return run_all(planned, LocalJobs(jobs, stop, {**settings, "workers": workers}), board, stop)
    with TrainingProgress(console) as display:
        return execute(planned, display, stop, workers=workers, team=options.team, **settings)


def tune_first(request: Request, options: RunOptions, console: Console) -> None:
    """Run every trial, then print what was chosen."""
    from rich.table import Table

    from ..planning.tuning import tune

    def execute(runs: list[PlannedRun]) -> bool:
        return not carry_out(runs, replace(options, keep="none"), console).stopped

    content = tune(request, execute)
    if content is None:
        return
    table = Table(title=f"Tuning on validation data, seed {content['seed']}, {content['rounds']} rounds")
    for column in ("method", "trials", "chosen", content["score"]):
        table.add_column(column)
    for label, chosen in content["chosen"].items():
        scores = [row["score"] for row in content["trials"] if row["label"] == label]
        best = max((value for value in scores if value is not None), default=None)
        shown = ", ".join(f"{key}={value}" for key, value in chosen.items())
        table.add_row(label, str(len(scores)), shown, "diverged" if best is None else f"{best:.4f}")
    console.print(table)


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
