"""The report in the terminal: the ledger, then the main table. Readable at 80 columns."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from .build import Report
from .claims import Entry
from .collect import Results
from .tables import Cell, Column, Table, figures, metric_name

_STYLES = {"reproduced": "green", "contradicted": "red", "undecided": "yellow"}


def print_report(report: Report, console: Console) -> None:
    if report.entries:
        console.print(ledger_table(report.results, report.entries))
    console.print(main_table(report))
    console.print(
        "† cannot be told from the best mean; bold: better than every other (95 %)", style="dim", highlight=False
    )
    for note in report.results.notes:
        console.print("note: " + escape(note.replace("`", "")), style="yellow", highlight=False)


def ledger_table(results: Results, entries: list[Entry]) -> RichTable:
    table = RichTable(title="Claims", title_justify="left", show_lines=True, expand=False)
    table.add_column("verdict", max_width=13)
    table.add_column("claim", ratio=1, min_width=18)
    table.add_column("paper", max_width=9)
    table.add_column("ours", justify="right", no_wrap=True)
    table.add_column("difference", justify="right", max_width=16)
    for entry in entries:
        claim, judgement = entry.claim, entry.judgement
        verdict = f"[{_STYLES[judgement.verdict]}]{judgement.verdict}[/]"
        if claim.required:
            verdict += "\n[bold]required[/]"
        if judgement.note:
            verdict += f"\n[dim]{escape(judgement.note)}[/]"
        mean, _, rest = entry.effect(results).partition(" ")
        effect = mean + (f"\n{escape(rest)}" if rest else "") + (f"\n[dim]at {entry.level}[/]" if entry.level else "")
        left, _, right = entry.sides(results).partition(" vs ")
        table.add_row(
            verdict, f"[bold]{escape(claim.id)}[/] {escape(claim.text)}", escape(claim.paper) or "–",
            f"{left}\nvs {right}", effect,
        )
    return table


def main_table(report: Report) -> RichTable:
    """Test figures per method: personal at equal rounds and gradients, global, and the worst tenth."""
    metric = report.results.metric
    columns = [
        Column("personal\nat equal\nrounds", f"test.personal.{metric}", "rounds"),
        Column("personal\nat equal\ngradients", f"test.personal.{metric}", "gradients"),
        Column("global\nat equal\nrounds", f"test.global.{metric}", "rounds"),
        Column("worst tenth\npersonal\neq. rounds", "test.personal.worst_tenth", "rounds"),
    ]
    return rich_table(figures(report.results, report.both, "main", f"Test {metric_name(report.results)}", columns))


def rich_table(table: Table) -> RichTable:
    made = RichTable(title=table.title, title_justify="left", padding=(0, 1), collapse_padding=True)
    for head in table.heads:
        text = head in ("setting", "method")
        made.add_column(head, justify="left" if text else "right", overflow="fold", no_wrap=not text)
    for row in table.rows:
        made.add_row(*map(_markup, row))
    return made


def _markup(cell: Cell) -> str:
    text = escape(cell.plain.replace(" (", "\n("))  # "4 (1 diverged)" in a narrow column
    return f"[bold]{text}[/]" if cell.mark == "best" else text
