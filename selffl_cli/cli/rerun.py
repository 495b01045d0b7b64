"""`selffl rerun RUN`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import SelfflError, UsageError
from . import options as opt
from .collector import uncollected
from .start import How, read_data

if TYPE_CHECKING:
    from rich.console import Console

    from ..planning.rerun import RerunPaths


def rerun(
    run: Annotated[
        Path,
        typer.Argument(
            help="A run folder, or its run.toml.", metavar="RUN", show_default=False, rich_help_panel=opt.WHAT
        ),
    ],
    data: opt.Data = None,
    source: opt.Source = None,
    init: opt.Init = None,
    budget: opt.Budget = None,
    checkpoint_seconds: opt.CheckpointSeconds = 30,
    dry_run: opt.DryRun = False,
    runs: opt.Runs = Path("runs"),
    device: opt.Device = "auto",
    workers: opt.Workers = None,
    engine: opt.EngineName = opt.Engine.auto,
    deterministic: opt.Deterministic = False,
    keep_models: opt.Keep = opt.KeepModels.auto,
    client_store: opt.Store = opt.ClientStore.memory,
) -> None:
    """Run the record of a finished run again in another place and compare every number with it.

    The new run goes below RUNS; when that is where the old one lies, it goes below RUNS-again. The exit code is 1
    when a number differs.
    """
    with uncollected():
        from ..planning.rerun import RerunPaths
        from .terminal import Terminal

    how = How(
        workers=workers, device=device, engine=engine.value, deterministic=deterministic,
        keep_models=keep_models.value, client_store=client_store.value, budget=budget,
        checkpoint_seconds=checkpoint_seconds, jobs=1,
    )  # fmt: skip
    if deterministic:
        from ..machine.determinism import only_deterministic_algorithms

        only_deterministic_algorithms()
    places = read_data(list(data or []))
    if places.spec is not None:
        raise UsageError(f"--data '{places.spec}': the record names its data set; give the folder where the data is")
    place = RerunPaths(runs, places.folder, places.shards, source, init)
    train_again(run, place, how, dry_run, Terminal())


def train_again(record: Path, place: RerunPaths, how: How, dry_run: bool, console: Console) -> None:
    """Carry out the recorded run in another place and say whether its numbers came out the same; SelfflError if not."""
    from ..finished.verify import other_machine
    from ..machine.devices import default_device
    from ..planning.rerun import differences, kept, read_record, replan
    from ..runs.folder import RunFolder
    from .running import queued

    config, before = read_record(record)
    if before is not None and config.folder(place.runs).resolve() == before.path.resolve():
        place.runs = place.runs.with_name(f"{place.runs.name}-again")
    run = replan(config, place)
    planned = [run.needs, run] if run.needs else [run]
    controls = how.controls(default_device(how.device))
    if controls.engine == "auto" and before is not None:  # the other engine takes its sums in another order
        controls.engine = before.environment.get("engine", "auto")
    if controls.keep == "auto":
        controls.keep = kept(before)
    if dry_run:
        from .dry_run import print_costs

        print_costs(planned, how.workers, controls.device, console)
        return
    with queued(planned, how, controls, console) as queue:
        queue.run()
    console.print(f"run: {run.folder}", soft_wrap=True)
    if before is None:
        console.print("the record's own run is not there or not finished: nothing to compare with")
        return
    found = list(differences(before, RunFolder(run.folder)))
    if not found:
        console.print("the same to the bit: every round, the final figures, every client, the models")
        return
    for line in found:
        console.print(f"differs: {line}", soft_wrap=True)
    where = other_machine(before.environment)
    made = f" (made elsewhere: {where})" if where else ""
    raise SelfflError(f"{run.folder}: other numbers than {before.path}{made}")
