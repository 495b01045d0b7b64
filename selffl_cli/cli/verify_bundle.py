"""`selffl verify BUNDLE`."""

from __future__ import annotations

import csv
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import SelfflError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from ..finished.bundle.unpack import Bundle

TABLES = ("tables.csv", "runs.csv", "claims.csv")


@dataclass(frozen=True)
class DataPlaces:
    """Where the data of the runs may be found or made."""

    data: Path | None
    source: str | None
    folder: Path


def verify(
    bundle: Annotated[
        Path,
        typer.Argument(help="An archive made by selffl bundle.", metavar="BUNDLE", show_default=False, dir_okay=False),
    ],
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Train every run again instead of recomputing its final figures.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option("--data", "-d", help="The shards, when they are here already.", show_default=False)
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--source", help="File, folder or URL that the data are prepared from.", show_default=False),
    ] = None,
    into: Annotated[
        Path | None,
        typer.Option(
            "--into",
            file_okay=False,
            help="Unpack into this folder, which stays. Default: one that goes again.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Check a bundle on this machine: every file, every run, every table.

    Each file is compared with the index. The final figures of each run are recomputed from its models and data, or the
    run is trained again with --rerun. The tables of the report are made again from the runs. The last line says "the
    same to the bit"; otherwise the first number that differs is named, and the exit code is 1.
    """
    from ..finished.bundle.unpack import unpack
    from .terminal import Terminal

    if into is not None and into.exists() and any(into.iterdir()):
        raise UsageError(f"--into {into}: is not empty; give a new folder")
    console = Terminal()
    with nullcontext(str(into)) if into is not None else tempfile.TemporaryDirectory(prefix="selffl-") as place:
        Path(place).mkdir(parents=True, exist_ok=True)
        opened = unpack(bundle, Path(place))
        console.print(f"files: {len(opened.files)}, each as the index says")
        places = DataPlaces(data, source, Path(place) / "prepared")
        wrong = [*_runs(opened, places, rerun, console), *_tables(opened, console)]
    if wrong:
        raise SelfflError(f"{bundle}: not the same: {wrong[0]}" + (f" ({len(wrong) - 1} more)" * (len(wrong) > 1)))
    console.print("the same to the bit", style="green")


def _runs(bundle: Bundle, places: DataPlaces, rerun: bool, console: Console) -> Iterator[str]:
    """What differs, a line a run."""
    from ..runs.folder import MODELS, RunFolder

    left_out = 0
    for path in bundle.runs:
        folder = RunFolder.open(path)
        if not rerun and not (path / MODELS).exists():
            left_out += 1
            continue
        shards = _shards(folder.record["data"], bundle, places)
        found = _trained_again(path, shards) if rerun else _recomputed(path, shards)
        console.print(f"{path.name}: {found or 'equal'}", soft_wrap=True)
        if found:
            yield f"{path.name}: {found}"
    if left_out:
        console.print(f"not recomputed: {left_out} runs, whose models are not in the bundle; --rerun trains them again")


def _recomputed(path: Path, shards: Path) -> str:
    """The first figure that differs; "" when all are equal to the bit."""
    import torch

    from ..finished.run import FinishedRun
    from ..finished.verify import other_machine
    from ..finished.verify import verify as judge_again

    torch.set_num_threads(1)
    run = FinishedRun.open(path, shards)
    different = judge_again(run).different
    return different[0] + _elsewhere(other_machine(run.folder.environment)) if different else ""


def _trained_again(path: Path, shards: Path) -> str:
    """The first number in which the run differs from one that is trained now; "" when there is none."""
    from ..finished.verify import other_machine
    from ..planning.rerun import RerunPaths, differences, kept, read_record, replan
    from ..runs.folder import MODELS, RunFolder
    from .running import queued
    from .start import How
    from .terminal import Terminal

    config, before = read_record(path)
    assert before is not None
    run = replan(config, RerunPaths(path.parents[2] / "again", data=shards))
    models = (path / MODELS).exists()
    keep = kept(before) if models else "personal"
    how = How(jobs=1, device="cpu", engine=before.environment.get("engine", "auto"), keep_models=keep)
    planned = [run.needs, run] if run.needs else [run]
    with queued(planned, how, how.controls("cpu"), Terminal(stderr=True)) as queue:
        queue.run()
    found = next(differences(before, RunFolder(run.folder), models), "")
    return found + _elsewhere(other_machine(before.environment)) if found else ""


def _elsewhere(where: str) -> str:
    return f" (made elsewhere: {where})" if where else ""


def _shards(record: dict[str, Any], bundle: Bundle, places: DataPlaces) -> Path:
    """The data of a run: in the bundle, where --data says, or prepared again."""
    from data_prep.prepare import find_or_prepare

    from ..shards import Shards

    inside = bundle.shards(str(record["hash"]))
    if inside is not None:
        return inside
    path = places.data or find_or_prepare(record["name"], record["arguments"], places.folder, places.source)
    found = Shards.open(path).hash
    if found != record["hash"]:
        raise SelfflError(f"{path}: holds the data {found}, the runs were trained on {record['hash']}")
    return path


def _tables(bundle: Bundle, console: Console) -> Iterator[str]:
    """Make the report again from the runs, and compare its tables cell by cell."""
    from ..config.experiment import load_experiment
    from ..finished.bundle.pack import PAGES, RUNS
    from ..planning.tuning import tuned
    from ..report.build import build

    runs = bundle.folder / RUNS
    experiment = tuned(load_experiment(str(bundle.folder / "experiment.toml")), runs)
    made = build(experiment, runs, bundle.folder / "made", [], "selffl verify")
    for name in TABLES:
        old, new = bundle.folder / PAGES / name, made.folder / name
        if old.exists() or new.exists():
            found = _first_difference(old, new)
            console.print(f"{name}: {found or 'equal'}", soft_wrap=True)
            if found:
                yield f"{name}: {found}"


def _first_difference(old: Path, new: Path) -> str:
    if not old.exists() or not new.exists():
        return "is in the bundle alone" if old.exists() else "is not in the bundle"
    before, now = (list(csv.DictReader(path.read_text(encoding="utf-8").splitlines())) for path in (old, new))
    for number, (one, two) in enumerate(zip(before, now, strict=False), 2):
        for key in {**one, **two}:
            if one.get(key) != two.get(key):
                return f"line {number}, {key}: {one.get(key)} in the bundle, {two.get(key)} made again"
    return "" if len(before) == len(now) else f"{len(before)} rows in the bundle, {len(now)} made again"
