"""`selffl train`."""

from __future__ import annotations

import os
import re
import shlex
import sys
import time
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from ..engine.team import Team
    from ..launch import Outcome
    from ..plan import PlannedRun, Request
    from ..training import Training


class Place(StrEnum):
    """Where per-client rows lie."""

    memory = "memory"
    disk = "disk"


class KeepModels(StrEnum):
    """Which final models a run folder keeps."""

    auto = "auto"
    global_ = "global"
    personal = "personal"
    none = "none"


def train(
    experiment: Annotated[
        str, typer.Argument(help="An experiment's name or TOML file.", metavar="EXPERIMENT")
    ] = "digits",
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-m",
            help="A method or `name:key=value,…`; may be repeated. Default: the experiment's list.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", help="A shard folder, or a data set as `name:key=value,…`.", show_default=False),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option("--rounds", "-r", help="Communication rounds.", show_default=False)
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", "-s", help="Seeds such as 0-4 or 0,7.", show_default=False)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Set any key of the experiment: key=value; may be repeated.", show_default=False),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--source", help="File, folder or URL of data that must be prepared first.", show_default=False),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            "--init", help="Start from the global model of a run folder or a .safetensors file.", show_default=False
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            "-w",
            min=1,
            max=1024,
            help="Processes that share a run's clients, one thread each. Default: one a core when rounds are long.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    keep_models: Annotated[
        KeepModels, typer.Option("--keep-models", help="Final models to keep; auto keeps personal ones up to 100 MiB.")
    ] = KeepModels.auto,
    client_store: Annotated[
        Place,
        typer.Option("--client-store", help="Where clients' rows (personal models, variances) lie while a run trains."),
    ] = Place.memory,
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="Stop cleanly after this time, such as 90s, 10m or 2h.", show_default=False),
    ] = None,
    checkpoint_seconds: Annotated[
        float, typer.Option("--checkpoint-seconds", min=0, help="Time between checkpoints.")
    ] = 30,
    runs: Annotated[Path, typer.Option("--runs", help="Where run folders go.")] = Path("runs"),
    data_folder: Annotated[
        Path, typer.Option("--data-folder", help="Where shards are looked for and prepared.")
    ] = Path("data"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Print what would run and what it would cost.")
    ] = False,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune",
            help="Try each method's grid first (on validation data, a seed apart) and use the best from then on.",
        ),
    ] = False,
    new_clients: Annotated[
        float | None,
        typer.Option(
            "--new-clients",
            min=0,
            max=0.9,
            help="Share of clients held out of training and judged at the end.",
            show_default=False,
        ),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            "--sampler",
            help="Who takes part in a round: uniform, poisson:q=0.1, activity:gamma=1,mix=0.1 (by training samples), "
            "log, top:fraction=0.5.",
            show_default=False,
        ),
    ] = None,
    weighting: Annotated[
        str | None,
        typer.Option(
            "--weighting",
            help="How models are averaged: samples, equal, or unbiased (corrects for the sampler; draws with "
            "replacement). Default: each method's own.",
            show_default=False,
        ),
    ] = None,
    privacy: Annotated[
        str | None,
        typer.Option(
            "--privacy",
            help="user:clip=1,noise=1,delta=1e-5 or user:clip=1,target-epsilon=8 (with --sampler poisson:q=…; "
            "adaptive=0.5 adapts the clip), or sample:micro-batch=16,clip=1,noise=1.",
            show_default=False,
        ),
    ] = None,
    list_methods: Annotated[bool, typer.Option("--list-methods", help="Print every method and its options.")] = False,
) -> None:
    """Train an experiment's methods and seeds; finished runs are skipped, broken ones resumed."""
    from rich.console import Console

    os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when torch is imported
    console = Console()
    if list_methods:
        from .methods import print_methods

        print_methods(console)
        return
    deadline = None if budget is None else time.monotonic() + parse_duration(budget)

    from ..config import load_experiment, parse_seeds
    from ..plan import Request, default_device, plan
    from ..tuning import tuned
    from .ranks import facts, joined

    parts = {"sampler": sampler, "weighting": weighting, "privacy": privacy}
    overrides, folder = _overrides(data, rounds, set_ or [])
    if new_clients is not None:
        overrides["train.new_clients"] = new_clients
    overrides |= {f"train.{key}": value for key, value in parts.items() if value is not None}
    with joined(device, workers) as team:
        request = Request(
            load_experiment(experiment, overrides),
            methods=list(method or []),
            seeds=None if seeds is None else parse_seeds(seeds),
            data=folder,
            data_folder=data_folder,
            source=source,
            runs=runs,
            init=init,
        )
        device = team.device if team else default_device(device)
        if team:
            team.agree(facts(request, device))
            if not team.leads:
                from ..follow import follow

                follow(team)
                return
        options = RunOptions(
            workers, device, keep_models.value, client_store.value, deadline, checkpoint_seconds, team
        )
        if tune:
            _tune(request, options, console)
        request.experiment = tuned(request.experiment, runs)
        planned = plan(request)
        if dry_run:
            from .dry_run import print_costs

            print_costs(planned, workers, device, console)
            return
        _print_results(request, planned, _run(planned, options, console), console)


@dataclass
class RunOptions:
    """How runs are carried out; none of it changes a number."""

    workers: int | None
    device: str
    keep: Any
    client_store: Any
    deadline: float | None
    checkpoint_seconds: float
    team: Team | None


def _run(planned: list[PlannedRun], options: RunOptions, console: Console) -> Outcome:
    """Carry out the runs; leaves the program with the command that goes on when they were stopped."""
    from ..launch import Stop, execute
    from ..predict import choose_workers, memory_hint
    from .progress import TrainingProgress

    def workers(training: Training) -> int:
        if hint := memory_hint(training):
            console.print(f"[yellow]{hint}[/yellow]", soft_wrap=True)
        return choose_workers(options.workers, training)

    stop = Stop(options.deadline)
    with TrainingProgress(console) as display:
        outcome = execute(
            planned,
            display,
            stop,
            workers=workers,
            device=options.device,
            keep=options.keep,
            client_store=options.client_store,
            checkpoint_seconds=options.checkpoint_seconds,
            team=options.team,
        )
    again = shlex.join(["selffl", *sys.argv[1:]])
    if outcome.stopped:
        reason = "stopped" if stop.signal else "time budget spent"
        console.print(f"{reason}; everything so far is saved. Go on with:\n  {again}", highlight=False, soft_wrap=True)
        raise typer.Exit(128 + stop.signal if stop.signal else 0)
    return outcome


def _tune(request: Request, options: RunOptions, console: Console) -> None:
    """Run every trial, then print what was chosen."""
    from rich.table import Table

    from ..tuning import tune

    def execute(runs: list[PlannedRun]) -> bool:
        return not _run(runs, replace(options, keep="none"), console).stopped

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


def _print_results(request: Request, planned: list[PlannedRun], outcome: Outcome, console: Console) -> None:
    """The table of this experiment's finished runs, where they are, and what to type next."""
    from ..config import WARM_START
    from ..report.terminal import final_table
    from ..runs import find_runs

    name = request.experiment.name
    hashes = {run.config.data["hash"] for run in planned}
    finished = [
        folder
        for folder in find_runs(request.runs, name)
        if folder.result is not None
        and folder.record["label"] != WARM_START
        and folder.record["data"]["hash"] in hashes
    ]
    console.print(final_table(finished, {run.config.label for run in planned}))
    where = planned[-1].folder if len(planned) == 1 else request.runs / name
    console.print(f"runs: {where}", highlight=False, soft_wrap=True)
    missing = [label for label in request.experiment.methods if label not in {f.record["label"] for f in finished}]
    extra = "" if request.runs == Path("runs") else f" --runs {shlex.quote(str(request.runs))}"
    step = f"train {shlex.quote(name)}" if missing else f"report {shlex.quote(name)}"
    why = f"to compare with {', '.join(missing)}" if missing else "for tables, curves and judged claims"
    console.print(f"next: [bold]selffl {step}{extra}[/bold]  {why}", highlight=False, soft_wrap=True)


def _overrides(data: str | None, rounds: int | None, settings: list[str]) -> tuple[dict[str, Any], Path | None]:
    """{dotted key: value} from the flags, and the shard folder when `--data` names one."""
    from ..spec import parse_spec, parse_value

    overrides: dict[str, Any] = {}
    folder = None
    if data is not None:
        if Path(data).is_dir() or "/" in data:
            folder = Path(data)
        else:
            name, options = parse_spec(data)
            overrides["data"] = {"name": name, **options}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"[\w+-]+(\.[\w+-]+)*", key.strip()):
            raise UsageError(f"--set '{text}': write key=value, such as train.learning_rate=0.05")
        overrides[key.strip()] = parse_value(value)
    if rounds is not None:
        overrides["train.rounds"] = rounds
    return overrides, folder


def parse_duration(text: str) -> float:
    """Seconds in `90s`, `10m`, `1.5h` or plain `90`."""
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([smh]?)\s*", text)
    if not match or float(match[1]) <= 0:
        raise UsageError(f"--budget '{text}': write a time such as 90s, 10m or 2h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
