"""`selffl train`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from . import options as opt
from .start import Asked, How, started


def train(
    experiment: opt.Experiment = "digits",
    method: opt.Methods = None,
    data: opt.Data = None,
    seeds: Annotated[
        str | None,
        typer.Option(
            "--seeds",
            "-s",
            metavar="SEEDS",
            help="Such as 0-4 or 0,7. Default: the experiment's.",
            show_default=False,
            rich_help_panel=opt.WHAT,
        ),
    ] = None,
    label: Annotated[
        str,
        typer.Option(
            "--label",
            metavar="NAME",
            help="A name for a variant of one method, so that it stands in a row of its own.",
            show_default=False,
            rich_help_panel=opt.WHAT,
        ),
    ] = "",
    set_: opt.Settings = None,
    source: opt.Source = None,
    init: opt.Init = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            "--rounds",
            "-r",
            metavar="N",
            help="Rounds; with periods, of each.",
            show_default=False,
            rich_help_panel=opt.LONG,
        ),
    ] = None,
    budget: opt.Budget = None,
    checkpoint_seconds: opt.CheckpointSeconds = 30,
    dry_run: opt.DryRun = False,
    runs: opt.Runs = Path("runs"),
    device: opt.Device = "auto",
    launcher: opt.Launcher = opt.LauncherName.local,
    address: opt.Address = None,
    gpus_per_run: opt.GpusPerRun = 0,
    slurm: opt.Slurm = None,
    jobs: opt.Jobs = None,
    workers: opt.Workers = None,
    stack_seeds: opt.StackSeeds = None,
    engine: opt.EngineName = opt.Engine.auto,
    deterministic: opt.Deterministic = False,
    keep_models: opt.Keep = opt.KeepModels.auto,
    client_store: opt.Store = opt.ClientStore.memory,
    as_json: opt.Json = False,
) -> None:
    """Train an experiment's methods and seeds; finished runs are skipped, broken ones resumed."""
    asked = Asked(experiment, list(method or []), list(data or []), list(set_ or []), runs, source, init)
    asked.seeds, asked.rounds, asked.label = seeds, rounds, label
    how = How(
        workers, jobs, stack_seeds, launcher == opt.LauncherName.ray, address, gpus_per_run, device, engine.value,
        deterministic, keep_models.value, client_store.value, budget, checkpoint_seconds,
        slurm=opt.sbatch_options(launcher, slurm),
    )  # fmt: skip

    with started(asked, how) as begun:
        if begun is None:
            return
        from ..planning.owner import owned
        from ..planning.plan import plan
        from ..planning.stated import given
        from ..planning.tuning import tuned
        from .running import print_results, queued
        from .terminal import Terminal

        console, request = Terminal(stderr=as_json), begun.request
        stated = given(request.data, request.init)
        say = partial(console.print, style="yellow", soft_wrap=True)
        request.experiment = tuned(request.experiment, runs, request.methods, stated, say)
        planned = plan(request)
        if dry_run:
            from .dry_run import print_costs

            print_costs(planned, workers, begun.controls.device, console, as_json)
            return
        before = {run.folder for run in planned if (run.folder / "result.json").exists()}
        mine = owned(experiment, runs / request.experiment.name)
        with mine, queued(planned, how, begun.controls, console) as queue:
            queue.run()
        if as_json:
            from ..runs.listing import describe
            from .as_json import print_json

            print_json([describe(path) for path in dict.fromkeys(run.folder for run in planned)])
        else:
            print_results(request, planned, console, asked, before)
