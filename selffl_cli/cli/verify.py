"""`selffl eval RUN --verify`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import SelfflError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from ..finished.run import FinishedRun

SHOWN = 3  # figures that differ, named


def print_verdicts(scored: Sequence[FinishedRun], console: Console) -> None:
    """A line or more for each run; SelfflError at the end when one is not equal."""
    from ..finished.verify import other_machine, verify

    wrong = []
    for run in scored:
        name, verdict = run.folder.path.name, verify(run)
        lines = [f"{name}: equal, {verdict.equal} figures recomputed to the bit"]
        if verdict.different:
            wrong.append(name)
            lines = [f"{name}: NOT equal, {len(verdict.different)} of {verdict.equal + len(verdict.different)} figures"]
            lines += [f"  {line}" for line in verdict.different[:SHOWN]]
            if where := other_machine(run.folder.environment):
                lines.append(f"  made elsewhere: {where}")
        lines += [f"  not verified: {line}" for line in verdict.left_out]
        for line in lines:
            console.print(line, soft_wrap=True)
    if wrong:
        raise SelfflError(f"{len(wrong)} of {len(scored)} runs are not equal to their record ({', '.join(wrong[:3])})")
