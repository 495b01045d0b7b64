"""`report.html`: claims, tables that sort and fold, curves to hover and zoom, in one file without a network."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from ...metrics.metric import Metric
from ..ledger import Entry
from ..results import Results
from ..safe_text import html
from ..summary import summary_lines
from ..tables import Cell, Summaries, Table
from .data import client_data, curve_data, embedded

NAME = "report.html"
TEXT_HEADS = ("setting", "method")
# nothing is loaded from anywhere, whatever a name in a record says
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"


def html_page(
    results: Results, both: Summaries, entries: list[Entry], tables: Sequence[Table], folder: Path, command: str
) -> str:
    """The whole file; `folder` is where it will lie, from which run folders are linked."""
    title = results.experiment.title or results.experiment.name
    curves, clients = curve_data(results), client_data(results)
    body = [
        f"<header><h1>{html(title)}</h1>",
        '<ul class="summary">',
        *(f"<li>{html(line)}</li>" for line in summary_lines(results, both, entries)),
        "</ul>",
        *(f"<p>{html(part)}</p>" for part in results.experiment.description.strip().split("\n\n") if part),
        "</header><main>",
        _claims(results, entries) if entries else "",
        _chart(),
        *(_section(table, opened=number == 0) for number, table in enumerate(tables)),
        _clients(results.metric) if clients["series"] else "",
        _runs(results, folder),
        f"<section><h2>Make it again</h2><pre>{html(command)}</pre></section>",
        _notes(results),
        "</main>",
        f'<script type="application/json" id="curves">{embedded(curves)}</script>',
        f'<script type="application/json" id="clients">{embedded(clients)}</script>',
        f"<script>{asset('page.js')}</script>",
    ]
    return document(title, body)


def document(title: str, body: Sequence[str]) -> str:
    """One HTML file that loads nothing."""
    head = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html(title)}</title>\n<style>\n{asset('page.css')}</style>\n</head>\n<body>\n"
    )
    return head + "\n".join(part for part in body if part) + "\n</body>\n</html>\n"


def asset(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8")


def _table(name: str, heads: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int) -> str:
    """A table whose heads are buttons that sort it; cells come escaped."""
    kinds = ["text" if number < text_columns else "number" for number in range(len(heads))]
    head = "".join(
        f'<th scope="col" class="{kind}"><button type="button">{html(text)}</button></th>'
        for text, kind in zip(heads, kinds, strict=True)
    )
    lines = "\n".join(
        "<tr>" + "".join(f'<td class="{kind}">{text}</td>' for text, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{html(name)}"><table class="sorts">'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    text = html(cell.plain)
    return f"<strong>{text}</strong>" if cell.mark == "best" else text


def _section(table: Table, opened: bool) -> str:
    text_columns = sum(head in TEXT_HEADS for head in table.heads)
    rows = [[_cell(cell) for cell in cells] for cells in table.rows]
    made = _table(table.title, table.heads, rows, text_columns)
    return f"<details{' open' if opened else ''}><summary><h2>{html(table.title)}</h2></summary>{made}</details>"


def _claims(results: Results, entries: list[Entry]) -> str:
    rows = []
    for entry in entries:
        judgement, claim = entry.judgement, entry.claim
        note = f" ({judgement.note})" if judgement.note else ""
        source = f" <cite>{html(claim.source)}</cite>" if claim.source else ""
        rows.append(
            [
                f'<span class="verdict {judgement.verdict}">{judgement.verdict}</span>{html(note)}',
                html(claim.text) + source + (" <strong>required</strong>" if claim.required else ""),
                html(claim.paper) or "–",
                html(entry.sides(results)),
                html(entry.effect(results)),
                str(len(entry.seeds)),
            ]
        )
    heads = ["verdict", "claim", "paper", "ours (left vs right)", "difference", "seeds"]
    return (
        "<section><h2>Claims</h2>"
        + _table("Claims", heads, rows, 3)
        + "<p class=note>A claim is reproduced when the paired 95 % interval, after Holm's correction, lies wholly on "
        "its side, contradicted when it lies wholly on the other side, and else undecided.</p></section>"
    )


def _chart() -> str:
    return (
        '<section id="chart"><h2>Curves</h2><div class="controls">'
        '<label>figure <select id="what"></select></label> <label>over <select id="axis"></select></label> '
        '<label id="setting-label">setting <select id="setting"></select></label> '
        '<button type="button" id="reset">whole range</button></div>'
        '<div id="legend" class="controls" role="group" aria-label="methods shown"></div>'
        '<svg id="plot" viewBox="0 0 900 420" role="img" aria-label="Learning curves; the table below holds the '
        'numbers"></svg><p id="hover" class="note" aria-live="polite">Move over the chart to read values. Drag to '
        "zoom. A band is the 95 % interval over seeds.</p>"
        "<details><summary>The numbers of this chart</summary>"
        '<div class="wide" tabindex="0" id="numbers"></div></details>'
        "</section>"
    )


def _clients(metric: Metric) -> str:
    better = "Above" if metric.higher_is_better else "Below"
    return (
        "<details><summary><h2>Who gains</h2></summary>"
        '<div id="client-legend" class="controls" role="group" aria-label="methods shown"></div>'
        '<svg id="client-plot" viewBox="0 0 900 360" role="img" aria-label="Gain of each client by its number of '
        'training samples"></svg><p class="note">A point is a client of one seed. '
        f"{better} zero, its personal model is better on its test data than the global model ({metric.unit})."
        "</p></details>"
    )


def _runs(results: Results, folder: Path) -> str:
    rows = []
    for run in results.runs:
        where = Path(os.path.relpath(run.folder.path, folder)).as_posix()
        link = f'<a href="{quote(where)}/">{html(run.folder.path.name)}</a>'
        rows.append([html(run.setting), html(run.label), str(run.seed), html(str(run.result.get("status"))), link])
    heads = ["setting", "method", "seed", "state", "folder"]
    if len(results.settings) == 1:
        heads, rows = heads[1:], [row[1:] for row in rows]
    made = _table("Runs", heads, rows, heads.index("seed"))
    return f"<details><summary><h2>Runs</h2></summary>{made}</details>"


def _notes(results: Results) -> str:
    items = "".join(f"<li>{html(note)}</li>" for note in results.notes)
    return f"<section><h2>Notes</h2><ul>{items}</ul></section>" if items else ""
