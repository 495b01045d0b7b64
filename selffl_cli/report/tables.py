"""Tables of an experiment, in Markdown, LaTeX and CSV."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .compare import At, Mark, Summary
from .results import Results
from .safe_text import csv_cell, markdown


@dataclass(frozen=True)
class Cell:
    """A figure with its 95 % half-width, ready to be written; `half` is "" when it is withheld."""

    value: str
    half: str = ""
    mark: Mark = ""

    @property
    def plain(self) -> str:
        text = f"{self.value} ± {self.half}" if self.half else self.value
        return text + ("†" if self.mark == "tied" else "")


@dataclass(frozen=True)
class Table:
    name: str
    title: str
    heads: list[str]
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Column:
    head: str
    what: str
    at: At


Summaries = dict[At, Summary]


def summaries(results: Results) -> Summaries:
    return {"rounds": Summary(results, "rounds"), "gradients": Summary(results, "gradients")}


def tables(results: Results, both: Summaries) -> list[Table]:
    """Test and training figures, spread over clients, and what the methods cost."""
    name = metric_name(results)
    made = []
    for part, title in (("test", "Test"), ("train", "Training")):
        columns = [
            Column(f"{model}, equal {at}", f"{part}.{model}.{results.metric}", at)
            for model in ("personal", "global")
            for at in ("rounds", "gradients")
        ]
        if f"{part}.delivered.{results.metric}" in set(results.points["what"]):
            columns.insert(0, Column("delivered, equal rounds", f"{part}.delivered.{results.metric}", "rounds"))
        made.append(figures(results, both, part, f"{title} {name}", columns))
    for metric in results.further:
        columns = [
            Column(f"{model}, equal {at}", f"test.{model}.{metric}", at)
            for model in ("delivered", "personal", "global")
            for at in ("rounds", "gradients")
        ]
        made.append(figures(results, both, f"test-{metric}", f"Test {metric.head}", columns))
    columns = [Column(model, f"new.{model}.{results.metric}", "rounds") for model in ("personal", "global")]
    made.append(figures(results, both, "new", f"Clients that never trained: test {name}", columns))
    for model in ("personal", "global"):
        columns = [
            Column(f"{words}, equal {at}", f"test.{model}.{metric}", at)
            for metric, words in (
                ("client_mean", "client mean"),
                ("worst_tenth", "worst tenth"),
                ("std", "std"),
            )
            for at in ("rounds", "gradients")
        ]
        made.append(
            figures(
                results,
                both,
                f"clients-{model}",
                f"Spread over clients, {model} models: test {name}",
                columns,
            )
        )
    for model in ("personal", "global"):
        columns = [
            Column(words, f"test.{model}.{metric}", "rounds")
            for metric, words in (
                ("light", "light clients"),
                ("heavy", "heavy clients"),
                ("heavy_gap", "heavy − light"),
                ("worst_group", "worst group"),
                ("group_gap", "best − worst group"),
            )
        ]
        title = f"Heavy and light clients and groups, {model} models: test {name}, equal rounds"
        made.append(figures(results, both, f"fairness-{model}", title, columns))
    return [table for table in made if table.rows] + [costs(results)]


def metric_name(results: Results) -> str:
    return results.metric.head


def figures(results: Results, both: Summaries, name: str, title: str, columns: Sequence[Column]) -> Table:
    """One row a method (and setting), one column a figure; columns that nobody recorded are left out."""
    columns = [column for column in columns if column.what in both[column.at].whats]
    swept = len(results.settings) > 1
    rows = []
    for setting in results.settings if columns else []:
        marks = [both[column.at].marks(setting, column.what) for column in columns]
        for label in results.labels:
            runs = [run for run in results.runs if run.label == label and run.setting == setting]
            if not runs:
                continue
            cells = [
                cell(both[c.at], setting, label, c.what, mark.get(label, ""))
                for c, mark in zip(columns, marks, strict=True)
            ]
            diverged = sum(run.diverged for run in runs)
            seeds = f"{len(runs) - diverged}" + (f" ({diverged} diverged)" if diverged else "")
            rows.append([*([Cell(setting)] if swept else []), Cell(label), Cell(seeds), *cells])
    heads = [*(["setting"] if swept else []), "method", "seeds", *(column.head for column in columns)]
    return Table(name, title, heads, rows)


def cell(summary: Summary, setting: str, label: str, what: str, mark: Mark = "") -> Cell:
    interval = summary.interval(setting, label, what)
    if interval is None:
        return Cell("–")
    results = summary.results
    half = "" if interval.withheld else results.show_half(interval.half, interval.mean, what)
    return Cell(results.show(interval.mean, what), half, mark)


def costs(results: Results) -> Table:
    """What a method spent up to its last round: means over its finished seeds."""
    last = results.points.groupby(["setting", "label", "seed"])[["round", "gradients", "bytes", "seconds"]].max()
    swept = len(results.settings) > 1
    rows = []
    for setting in results.settings:
        for label in results.labels:
            seeds = [r.seed for r in results.finished if r.label == label and r.setting == setting]
            if not seeds:
                continue
            mean = last.loc[[(setting, label, seed) for seed in seeds]].mean()
            seconds = mean["seconds"]
            rows.append(
                [
                    *([Cell(setting)] if swept else []),
                    Cell(label),
                    Cell(f"{mean['round']:.0f}"),
                    Cell(f"{mean['gradients']:,.0f}"),
                    Cell(f"{mean['bytes'] / 1e6:,.3g}"),
                    Cell("–" if math.isnan(seconds) else f"{seconds:,.1f}"),
                ]
            )
    heads = ["method", "rounds", "gradient evaluations", "MB up and down", "wall-clock a run (s)"]
    return Table("costs", "Cost of a run", [*(["setting"] if swept else []), *heads], rows)


def table_markdown(table: Table) -> str:
    def row(texts: Sequence[str]) -> str:
        return "| " + " | ".join(texts) + " |"

    def one(item: Cell) -> str:
        return f"**{markdown(item.plain)}**" if item.mark == "best" else markdown(item.plain)

    texts = [list(map(one, cells)) for cells in table.rows]
    text_columns = sum(head in ("setting", "method") for head in table.heads)
    rule = "|" + "|".join(["---"] * text_columns + ["---:"] * (len(table.heads) - text_columns)) + "|"
    return "\n".join([row([markdown(head) for head in table.heads]), rule, *map(row, texts)])


def write_csv(frame: pd.DataFrame, path: Path) -> None:
    """The frame as CSV, its words made safe for spreadsheets."""
    safe = frame.map(csv_cell) if len(frame) else frame
    safe.to_csv(path, index=False, lineterminator="\n")


def long_frame(results: Results, both: Summaries) -> pd.DataFrame:
    """Every figure at both budgets, one row each, unrounded (shares, not per cent): the CSV."""
    rows = []
    for at, summary in both.items():
        for setting in results.settings:
            for what in sorted(summary.whats):
                marks = summary.marks(setting, what)
                for label in results.labels:
                    interval = summary.interval(setting, label, what)
                    if interval is not None:
                        rows.append(
                            {
                                "setting": setting,
                                "method": label,
                                "figure": what,
                                "equal": at,
                                "seeds": interval.n,
                                "mean": interval.mean,
                                "half_width_95": interval.half,
                                "low_95": interval.low,
                                "high_95": interval.high,
                                "mark": marks.get(label, ""),
                            }
                        )
    return pd.DataFrame(rows)


def run_frame(results: Results, both: Summaries) -> pd.DataFrame:
    """One row a run: its folder, its outcome, and its test and training figures at both budgets."""
    rows = []
    for run in results.runs:
        row: dict[str, object] = {
            "setting": run.setting,
            "method": run.label,
            "seed": run.seed,
            "run": run.folder.path.name,
            "status": run.result.get("status", ""),
            "round": run.result.get("round", ""),
        }
        for at, summary in both.items():
            for what in sorted(summary.whats):
                if not what.endswith(".loss"):
                    row[f"{what}@{at}"] = summary.seeds(run.setting, run.label, what).get(run.seed, math.nan)
        rows.append(row)
    return pd.DataFrame(rows)
