"""`selffl report`: everything that a report's folder holds."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..config.experiment import Experiment
from ..files.atomic import sync_folder, write_whole
from ..files.locks import alone
from ..files.regular import read_regular
from ..planning.stated import Given
from ..shards import sha256
from .collect import collect
from .html.index import INDEX, index_page
from .html.page import NAME as HTML
from .html.page import html_page
from .ledger import Entry, claims_frame, ledger
from .page import page
from .paper import compact, write_tables
from .pictures.curves import X, curves
from .pictures.diagnostics import gains, uncertainty, worst_tenth
from .pictures.style import with_svg
from .pictures.sweep import heat_map, sweep
from .results import Results
from .sections import (
    best_setting,  # noqa: F401
    continual,  # noqa: F401 - they add their sections to the page
    equal_gradients,  # noqa: F401
)
from .sections.canary import planted_section
from .sections.evidence import evidence_section
from .sections.fairness import fairness
from .sections.privacy import privacy_picture, privacy_section
from .sections.registry import EXTRAS, extra
from .sections.target import target_section
from .tables import Summaries, Table, long_frame, run_frame, summaries, tables, write_csv

extra(evidence_section)
extra(target_section)
extra(privacy_section)
extra(planted_section)

OWN = "report"  # the folder beside the runs, where a report goes that is asked for without --out
MADE = ".made.json"  # {file: sha256} of what the last report wrote
PICTURES = ("curves-*", "sweep", "sweep-uncertainty", "differences", "uncertainty", "clients", "worst-tenth",
            "fairness", "privacy", "det-*", "planted", "replay", "forgetting")  # fmt: skip
FORMER = (
    "claims.csv",
    "wakeword.*",
    "table-*.tex",
    *(f"{name}.{kind}" for name in PICTURES for kind in ("png", "svg")),
)
PAGE = "README.md"


@dataclass(frozen=True)
class Selection:
    """Which runs are shown: what was given beside the TOML, and whether runs that it does not state are shown too."""

    given: Given = field(default_factory=Given)
    include: bool = False
    svg: bool = False  # pictures as SVG too


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
    out: Path | None,
    axes: Sequence[X],
    command: str,
    say: Callable[[str], None] = lambda text: None,
    selection: Selection | None = None,
) -> Report:
    """Read the runs, judge the claims, then write OUT/EXPERIMENT, or RUNS/EXPERIMENT/report without `out`.

    An error leaves the disk as it was. Everything is made in a hidden folder and each file renamed to its place when
    all are there, the page last.
    """
    say("reading runs")
    selection = selection or Selection()
    results = collect(experiment, runs, selection.given, selection.include)
    both = summaries(results)
    entries = ledger(results, both)
    made = tables(results, both)
    target = runs / experiment.name / OWN if out is None else out / experiment.name
    folder = target.with_name(f".{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    with alone(target.with_name(f".{target.name}.lock"), say), with_svg(selection.svg):
        shutil.rmtree(folder, ignore_errors=True)  # of one that was killed
        folder.mkdir()
        try:
            pictures = _draw(results, both, folder, axes, say)
            say("writing tables")
            _write(results, both, entries, made, pictures, command, folder)
            _put_in_place(folder, target)
            if out is not None:
                write_whole(out / INDEX, index_page(out))
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


def _put_in_place(folder: Path, target: Path) -> None:
    """Every file of `folder` over its forerunner in `target`; what an earlier report made and this one does not, goes.

    A file of that name which is no longer as it was made is somebody's own, and stays.
    """
    made = {path.name: sha256(path) for path in folder.iterdir()}
    (folder / MADE).write_text(json.dumps(made, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    target.mkdir(exist_ok=True)
    stale = [name for name in _made_before(target) if name not in made]
    for path in sorted(folder.iterdir(), key=lambda path: (path.name == PAGE, path.name)):
        os.replace(path, target / path.name)
    for name in stale:
        (target / name).unlink(missing_ok=True)
    sync_folder(target)


def _made_before(target: Path) -> list[str]:
    """Files in `target` that an earlier report made, by its list; older reports left none, but used these names."""
    try:
        listed = json.loads(read_regular(target / MADE))
        names = {str(name): str(digest) for name, digest in listed.items()}
    except FileNotFoundError:
        return [path.name for name in FORMER for path in target.glob(name) if path.is_file()]
    except (OSError, ValueError, AttributeError, RecursionError):
        return []
    own = [name for name in names if Path(name).name == name and (target / name).is_file()]
    return [name for name in own if sha256(target / name) == names[name]]


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
