"""`selffl report`: everything that results/EXPERIMENT/ holds."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config.experiment import Experiment
from ..files.atomic import sync_folder
from ..files.locks import alone
from .collect import collect
from .html.page import NAME as HTML
from .html.page import html_page
from .ledger import Entry, claims_frame, ledger
from .page import page
from .paper import compact, write_tables
from .pictures.curves import X, curves
from .pictures.diagnostics import gains, uncertainty, worst_tenth
from .pictures.sweep import heat_map, sweep
from .results import Results
from .sections import continual as replay  # noqa: F401 - they add their sections to the page
from .sections import equal_gradients  # noqa: F401
from .sections.canary import planted_section
from .sections.fairness import fairness
from .sections.privacy import privacy_picture, privacy_section
from .sections.registry import EXTRAS, extra
from .sections.target import target_section
from .tables import Summaries, Table, long_frame, run_frame, summaries, tables, write_csv

extra(target_section)
extra(privacy_section)
extra(planted_section)

PICTURES = (
    "curves-*",
    "sweep",
    "sweep-uncertainty",
    "differences",
    "uncertainty",
    "clients",
    "worst-tenth",
    "fairness",
)
PAGE = "README.md"


@dataclass(frozen=True)
class Report:
    """What was written, for the terminal."""

    results: Results
    both: Summaries
    entries: list[Entry]
    tables: list[Table]
    folder: Path


def build(
    experiment: Experiment,
    runs: Path,
    out: Path,
    axes: Sequence[X],
    command: str,
    say: Callable[[str], None] = lambda text: None,
) -> Report:
    """Read the runs, judge the claims, then write OUT/EXPERIMENT; an error leaves the disk as it was.

    Everything is made in a hidden folder and each file renamed to its place when all are there, the page last.
    """
    say("reading runs")
    results = collect(experiment, runs)
    both = summaries(results)
    entries = ledger(results, both)
    made = tables(results, both)
    target, folder = out / experiment.name, out / f".{experiment.name}.part"
    out.mkdir(parents=True, exist_ok=True)
    with alone(out / f".{experiment.name}.lock", say):
        shutil.rmtree(folder, ignore_errors=True)  # of one that was killed
        folder.mkdir()
        try:
            pictures = _draw(results, both, folder, axes, say)
            say("writing tables")
            _write(results, both, entries, made, pictures, command, folder)
            _put_in_place(folder, target, pictures)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return Report(results, both, entries, made, target)


def _write(
    results: Results, both: Summaries, entries: list[Entry], made: list[Table], pictures: list[str],
    command: str, folder: Path,
) -> None:  # fmt: skip
    short = [compact(table) for table in made if table.name == "test"]
    write_tables([*short, *made], results.experiment.name, folder, "tables.tex")
    write_csv(long_frame(results, both), folder / "tables.csv")
    write_csv(run_frame(results, both), folder / "runs.csv")
    if entries:
        write_csv(claims_frame(entries), folder / "claims.csv")
    extras = [section(results, folder) for section in EXTRAS]
    text = page(results, both, entries, made, pictures, extras, command)
    (folder / PAGE).write_text(text, encoding="utf-8")
    (folder / HTML).write_text(html_page(results, both, entries, made, folder, command), encoding="utf-8")


def _put_in_place(folder: Path, target: Path, pictures: list[str]) -> None:
    """Every file of `folder` over its forerunner in `target`; pictures no longer shown go."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    target.mkdir(exist_ok=True)
    written = sorted(folder.iterdir(), key=lambda path: (path.name == PAGE, path.name))
    for path in written:
        os.replace(path, target / path.name)
    for path in target.glob("table-*.tex"):
        if path.name not in {path.name for path in written}:
            path.unlink()
    for pattern in PICTURES:
        for path in [*target.glob(f"{pattern}.png"), *target.glob(f"{pattern}.svg")]:
            if path.stem not in pictures:
                path.unlink()
    sync_folder(target)


def _draw(results: Results, both: Summaries, folder: Path, axes: Sequence[X], say: Callable[[str], None]) -> list[str]:
    rounds = both["rounds"]
    say("drawing sweeps")
    pictures: list[str | None] = [*sweep(results, rounds, folder)]
    for axis in axes:
        say(f"drawing curves over {axis}")
        pictures.append(curves(results, folder, axis))
    say("drawing diagnostics")
    pictures += [
        heat_map(results, rounds, folder),
        worst_tenth(results, rounds, folder),
        fairness(results, rounds, folder),
        privacy_picture(results, rounds, folder),
        gains(results, folder),
        uncertainty(results, folder),
    ]
    return [name for name in pictures if name]
