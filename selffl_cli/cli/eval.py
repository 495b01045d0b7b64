"""`selffl eval`."""

from __future__ import annotations

import io
from collections.abc import Collection
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UsageError
from ..files.atomic import write_whole
from ..report.safe_text import csv_cell
from . import options as opt

if TYPE_CHECKING:
    from rich.table import Table

    from ..finished.run import FinishedRun
    from ..metrics.metric import Metric


class Split(StrEnum):
    """A part of each client's data."""

    train = "train"
    validation = "validation"
    test = "test"


def eval_(
    runs: Annotated[
        list[Path], typer.Argument(help="Run folders.", metavar="RUN...", show_default=False, callback=opt.only_runs)
    ],
    part: Annotated[
        list[Split] | None,
        typer.Option("--part", help="Part to score on; may be repeated. Default: all three.", show_default=False),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", "-d", help="Where the runs' shards are now.", show_default=False)
    ] = None,
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions",
            file_okay=False,
            help="Folder for a Parquet file a run, one row a sample and model.",
            show_default=False,
        ),
    ] = None,
    csv: Annotated[
        Path | None,
        typer.Option("--csv", dir_okay=False, help="Also write the table to this file.", show_default=False),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Recompute the recorded final figures instead; exit 1 when one is not equal to the bit."
        ),
    ] = False,
    as_json: opt.Json = False,
) -> None:
    """Score finished runs on any part of the data, global and personal, with the spread over clients."""
    import torch

    from ..finished.run import FinishedRun
    from .terminal import Terminal

    torch.set_num_threads(1)
    scored = [FinishedRun.open(path, data) for path in runs]
    if verify:
        from .verify import print_verdicts

        if part or predictions or csv or as_json:
            raise UsageError(
                "--verify: recomputes what was recorded; leave --part, --predictions, --csv and --json out"
            )
        print_verdicts(scored, Terminal())
        return
    if predictions is not None and any(run.shards.manifest.task != "classification" for run in scored):
        raise UsageError("--predictions: only classification data has predicted classes")
    parts = [p.value for p in part] if part else [p.value for p in Split]
    console = Terminal(stderr=as_json)
    rows: list[dict[str, object]] = []
    for run in scored:
        for name, kinds in run.summaries(parts).items():
            for kind, figures in kinds.items():
                if figures:
                    config = run.config
                    rows.append({"method": config.label, "seed": config.seed, "part": name, "model": kind, **figures})
        if not any(row["model"] == "personal" for row in rows):
            console.print(f"{run.folder.path.name}: no personal models were kept (train with --keep-models personal)")
        if predictions is not None:
            _write_predictions(run, parts, predictions)
    if not rows:
        raise UsageError("nothing to score: these runs kept no models, or the part is empty")
    if as_json:
        from .as_json import print_json

        print_json(rows)
    else:
        for alike in by_figures(rows):
            console.print(table(alike, [metric for run in scored for metric in run.metrics]))
    if csv is not None:
        import csv as csv_module

        file = io.StringIO(newline="")
        # a figure that a task does not have is an empty cell
        writer = csv_module.DictWriter(file, list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows({key: csv_cell(value) for key, value in row.items()} for row in rows)
        write_whole(csv, file.getvalue())


def by_figures(rows: list[dict[str, object]]) -> list[list[dict[str, object]]]:
    """Rows with the same columns together: accuracies and perplexities are no figures of one table."""
    groups: dict[tuple[str, ...], list[dict[str, object]]] = {}
    for row in rows:
        groups.setdefault(tuple(row), []).append(row)
    return list(groups.values())


def table(rows: list[dict[str, object]], further: Collection[Metric] = ()) -> Table:
    """A row a run, part and model, narrow enough for 80 columns: figures are never cut, a long method is folded."""
    from rich import box
    from rich.table import Table

    from ..metrics.judged_by import SPREAD, main_metric

    names = list(rows[0])
    main = main_metric(names)
    shares = {metric.name for metric in (main, *further) if metric.percent} | ({*SPREAD} if main.percent else set())
    made = Table(
        box=box.SIMPLE_HEAD,
        padding=0,
        caption=(f"{main.head}; " if main.percent else "")
        + "worst tenth: mean over the worst 10 % of clients; p10: their 10th percentile",
        caption_justify="left",
    )
    for column in names:
        method = column == "method"
        made.add_column(
            column.replace("_", "\n"),
            justify="left" if column in names[:4] else "right",
            no_wrap=not method,
            overflow="fold" if method else "ellipsis",
            min_width=8 if method else None,
        )
    for row in rows:
        made.add_row(*(shown(value, name in shares) for name, value in row.items()))
    return made


def shown(value: object, percent: bool) -> str:
    """A figure as the table shows it: shares in percent, losses and squared errors as they are."""
    if not isinstance(value, float):
        return str(value)
    return f"{100 * value:.1f}" if percent else f"{value:.3g}"


def _write_predictions(run: FinishedRun, parts: list[str], folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    parquet.write_table(pa.table(run.predictions(parts)), buffer)
    write_whole(folder / f"{run.folder.path.name}.parquet", buffer.getvalue())
