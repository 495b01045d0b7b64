"""Tables for a paper: LaTeX that compiles whatever the labels hold, and that is never wider than its page or column.

A paper needs `\\usepackage{booktabs,graphicx}`. Each table is a file of its own (`table-NAME.tex`), and all of them
stand in one (`tables.tex`); `table-compact.tex` fits a column of a two-column paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .safe_text import tex
from .tables import Cell, Table

NEEDS = "% \\usepackage{booktabs,graphicx}\n"
TEXTS = ("setting", "method", "models", "device")  # columns of words
ROWS = 45  # that a page has room for
COMPACT = ("personal, equal rounds", "personal, equal gradients", "global, equal rounds")


def write_tables(made: Sequence[Table], experiment: str, folder: Path, whole: str, note: str = "") -> None:
    """A file for each table, and all of them in the file `whole`; `note` is a part of every caption."""
    texts = {table.name: latex(table, f"tab:{experiment}-{table.name}", note) for table in made}
    for name, text in texts.items():
        (folder / f"table-{name}.tex").write_text(NEEDS + text + "\n", encoding="utf-8")
    (folder / whole).write_text(NEEDS + "\n\n".join(texts.values()) + "\n", encoding="utf-8")


def compact(test: Table) -> Table:
    """The table of test figures with those columns alone that a short paper has room for."""
    kept = [i for i, head in enumerate(test.heads) if head in TEXTS or head in COMPACT]
    rows = [[row[i] for i in kept] for row in test.rows]
    return Table("compact", test.title, [test.heads[i] for i in kept], rows)


def latex(table: Table, label: str, note: str = "") -> str:
    """A booktabs table, shrunk where it would be wider than the page (or the column, for the compact one), and in
    parts where it would be longer."""
    if len(table.rows) <= ROWS:
        return _latex(table, label, note)
    parts = [table.rows[first : first + ROWS] for first in range(0, len(table.rows), ROWS)]
    return "\n\n".join(
        _latex(replace(table, title=f"{table.title}, part {number} of {len(parts)}", rows=rows),
               label if number == 1 else f"{label}-{number}", note)
        for number, rows in enumerate(parts, 1)
    )  # fmt: skip


def _latex(table: Table, label: str, note: str) -> str:
    kind = "table" if table.name == "compact" else "table*"
    align = "".join("l" if head in TEXTS else "r" for head in table.heads)
    return "\n".join(
        [
            rf"\begin{{{kind}}}",
            r"  \centering\footnotesize\setlength{\tabcolsep}{4pt}",
            rf"  \caption{{{tex(table.title + (f'. {note}' if note else ''))}}}",
            rf"  \label{{{label}}}",
            r"  \resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            rf"  \begin{{tabular}}{{@{{}}{align}@{{}}}}",
            r"    \toprule",
            "    " + " & ".join(_head(head) for head in table.heads) + r" \\",
            r"    \midrule",
            *("    " + " & ".join(map(_cell, cells)) + r" \\" for cells in table.rows),
            r"    \bottomrule",
            r"  \end{tabular}}",
            rf"\end{{{kind}}}",
        ]
    )


def _head(head: str) -> str:
    """A column's head, on two lines where it names a figure and what is equal."""
    if ", " not in head:
        return tex(head)
    above, below = head.split(", ", 1)
    return rf"\shortstack[r]{{{tex(above)}\\{tex(below)}}}"


def _cell(item: Cell) -> str:
    text = tex(item.value) + (rf" $\pm$ {tex(item.half)}" if item.half else "")
    text = rf"\textbf{{{text}}}" if item.mark == "best" else text
    text = "{}" + text if text[:1] in ("[", "*") else text  # else an option of the line break before it
    return text + (r"$^{\dagger}$" if item.mark == "tied" else "")
