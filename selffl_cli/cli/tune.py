"""`selffl tune`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from ..errors import UsageError
from . import complete
from . import options as opt
from .start import Asked, How, started

if TYPE_CHECKING:
    from ..planning.plan import Request


def tune(
    experiment: Annotated[
        str,
        typer.Argument(
            help="An experiment's name or TOML file.",
            metavar="EXPERIMENT",
            show_default=False,
            autocompletion=complete.experiments,
            rich_help_panel=opt.WHAT,
        ),
    ],
    method: opt.Methods = None,
    data: opt.Data = None,
    set_: opt.Settings = None,
    source: opt.Source = None,
    init: opt.Init = None,
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
    engine: opt.EngineName = opt.Engine.auto,
    deterministic: opt.Deterministic = False,
    client_store: opt.Store = opt.ClientStore.memory,
    as_json: opt.Json = False,
) -> None:
    """Try each method's grid on validation data with a seed of its own; `train` uses the best from then on.

    The grids, the number of rounds and the seed are the experiment's [tuning] table. The choices go into
    RUNS/EXPERIMENT/tuning.json. Trials that are finished are skipped.
    """
    asked = Asked(experiment, list(method or []), list(data or []), list(set_ or []), runs, source, init)
    how = How(
        workers, jobs, None, launcher == opt.LauncherName.ray, address, gpus_per_run, device, engine.value,
        deterministic, "none", client_store.value, budget, checkpoint_seconds,
        slurm=opt.sbatch_options(launcher, slurm),
    )  # fmt: skip

    with started(asked, how) as begun:
        if begun is None:
            return
        from ..planning.owner import owned
        from ..planning.tuning import trial_runs
        from .running import tune_first
        from .terminal import Terminal

        console, request = Terminal(stderr=as_json), begun.request
        _check_labels(request)
        if dry_run:
            from .dry_run import print_costs

            print_costs(trial_runs(request), workers, begun.controls.device, console, as_json)
            return
        with owned(experiment, runs / request.experiment.name):
            chosen = tune_first(begun, console)
        if as_json:
            from .as_json import print_json

            print_json(chosen)
            return
        methods = [word for text in asked.methods for word in ("--method", text)]
        command = ["selffl", "train", experiment, *methods, *asked.words()]
        line = Text.assemble("next: ", (shlex.join(command), "bold"), "  to train with the best of each grid")
        console.print(line, soft_wrap=True)


def _check_labels(request: Request) -> None:
    """UsageError for a method that has no grid: nothing would be tried for it."""
    tuning = request.experiment.tuning
    for label in request.methods:
        if tuning is not None and label not in tuning.grids:
            raise UsageError(
                f"--method {label}: {request.experiment.name} has no grid for it; its grids are "
                f"{', '.join(tuning.grids)}"
            )
