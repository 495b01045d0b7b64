"""The report in the terminal: the ledger, then the main table. Readable at 80 columns."""

from __future__ import annotations

import re
import textwrap

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from .build import Report
from .heads import head
from .ledger import Entry
from .results import Results
from .sections import wakeword
from .tables import Cell, Column, cell, figures, metric_name

CLAIM = 18  # columns that a claim has at least
_STYLES = {"reproduced": "green", "contradicted": "red", "undecided": "yellow"}


def print_report(report: Report, console: Console) -> None:
    if report.entries:
        console.print(ledger_table(report.results, report.entries))
    for table in main_tables(report):
        console.print(table)
    for table in wakeword.terminal_tables(report.results):
        console.print(table)
    console.print(
        "* better than every other (paired 95 % intervals); † cannot be told from the best mean",
        style="dim",
    )
    for note in report.results.notes:
        console.print("note: " + note.replace("`", ""), style="yellow")


def ledger_table(results: Results, entries: list[Entry]) -> RichTable:
    table = RichTable(title="Claims", title_justify="left", show_lines=True, expand=False)
    table.add_column("verdict", max_width=13)
    table.add_column("claim", ratio=1, min_width=CLAIM, overflow="fold")
    table.add_column("paper", max_width=9)
    table.add_column("ours", justify="right", no_wrap=True)
    table.add_column("difference", justify="right", max_width=16)
    for entry in entries:
        claim, judgement = entry.claim, entry.judgement
        verdict = Text(judgement.verdict, _STYLES[judgement.verdict])
        if claim.required:
            verdict.append("\nrequired", "bold")
        if judgement.note:
            verdict.append(f"\n{judgement.note}", "dim")
        mean, _, rest = entry.effect(results).partition(" ")
        effect = Text(mean + (f"\n{rest}" if rest else ""))
        if entry.level:
            effect.append(f"\nat {entry.level}", "dim")
        left, _, right = entry.sides(results).partition(" vs ")
        table.add_row(
            verdict,
            Text.assemble((textwrap.fill(claim.id, CLAIM), "bold"), f" {claim.text}"),
            claim.paper or "–",
            f"{left}\nvs {right}",
            effect,
        )
    return table


def main_tables(report: Report) -> list[RichTable]:
    """Test figures a method: personal at equal rounds and gradients, global, and the worst tenth.

    For a sweep the main figure alone, a column a setting.
    """
    results, both = report.results, report.both
    what = f"test.personal.{results.metric}"
    if len(results.settings) > 1:
        settings = list(results.settings)
        return [_swept(report, what, settings[i : i + 3]) for i in range(0, len(settings), 3)]
    columns = [
        Column("personal\nat equal\nrounds", what, "rounds"),
        Column("personal\nat equal\ngradients", what, "gradients"),
        Column("global\nat equal\nrounds", f"test.global.{results.metric}", "rounds"),
    ]
    if results.metric.percent:  # shorter figures leave room for one more
        columns.append(Column("worst tenth\npersonal\neq. rounds", "test.personal.worst_tenth", "rounds"))
    table = figures(results, both, "main", "", columns)
    return [_rich(f"Test {metric_name(results)}", table.heads, table.rows)]


def _swept(report: Report, what: str, settings: list[str]) -> RichTable:
    """One row a method, one column a setting."""
    results, summary = report.results, report.both["rounds"]
    marks = {setting: summary.marks(setting, what) for setting in settings}
    rows = [
        [Cell(label), *(cell(summary, s, label, what, marks[s].get(label, "")) for s in settings)]
        for label in results.labels
    ]
    title = f"Test {metric_name(results)}, personal models, equal rounds"
    heads = ["method", *map(head, settings)]
    return _rich(title, heads, rows)


def _rich(title: str, heads: list[str], rows: list[list[Cell]]) -> RichTable:
    made = RichTable(title=title, title_justify="left", collapse_padding=True)
    for name in heads:
        if name == "method":
            made.add_column(name, overflow="fold", min_width=10)
        else:
            made.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        made.add_row(*map(_styled, row))
    return made


def _styled(item: Cell) -> Text:
    """A cell in as little room as it takes; a star beside the bold, which a plain terminal does not show."""
    text = re.sub(r" \((\d+) diverged\)", r"\n\1 div.", item.plain).replace(" ± ", "±")
    return Text(f"{text}*", "bold") if item.mark == "best" else Text(text)
