"""`selffl train --from RUN`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SelfflError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from ..planning.rerun import Place
    from .running import RunOptions


def refuse(given: Mapping[str, object]) -> None:
    """UsageError for an option that would change the run."""
    for name, value in given.items():
        if value:
            raise UsageError(f"--from runs a record as it stands; leave --{name.replace('_', '-')} out")


def train_again(record: Path, place: Place, options: RunOptions, dry_run: bool, console: Console) -> None:
    """Carry out the recorded run in another place and say whether its numbers came out the same; SelfflError if not."""
    from ..finished.verify import other_machine
    from ..planning.rerun import differences, kept, read_record, replan
    from ..runs.folder import RunFolder
    from .running import carry_out

    config, before = read_record(record)
    if before is not None and config.folder(place.runs).resolve() == before.path.resolve():
        place.runs = place.runs.with_name(f"{place.runs.name}-again")
    run = replan(config, place)
    planned = [run.needs, run] if run.needs else [run]
    if options.engine == "auto" and before is not None:  # the other engine takes its sums in another order
        options.engine = before.environment.get("engine", "auto")
    if options.keep == "auto":
        options.keep = kept(before)
    if dry_run:
        from .dry_run import print_costs

        print_costs(planned, options.workers, options.device, console)
        return
    carry_out(planned, options, console)
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
