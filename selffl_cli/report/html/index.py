"""`index.html`: every report of a folder such as results/, each with its first line and its verdicts."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from html import unescape
from pathlib import Path
from urllib.parse import quote

from ...files.regular import read_regular
from ..safe_text import html
from .page import NAME, document

INDEX = "index.html"
VERDICTS = ("reproduced", "contradicted", "undecided")
LONGEST = 1 << 20  # bytes of a page that are looked at
HEADS = ("experiment", *VERDICTS, "what was compared")


def index_page(folder: Path) -> str:
    """The whole file, from the reports' own files."""
    rows = [_row(path) for path in sorted(folder.iterdir()) if (path / "README.md").is_file()]
    kinds = ("text", "number", "number", "number", "text")
    head = "".join(f'<th scope="col" class="{kind}">{name}</th>' for name, kind in zip(HEADS, kinds, strict=True))
    body = "\n".join(
        "<tr>" + "".join(f'<td class="{kind}">{cell}</td>' for cell, kind in zip(row, kinds, strict=True)) + "</tr>"
        for row in rows
    )
    table = f"<table><thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"
    parts = [
        "<header><h1>Reports</h1><p>Numbers count judged claims. Each name leads to its report.</p></header><main>",
        f'<div class="wide" tabindex="0" role="region" aria-label="Reports">{table}</div></main>',
    ]
    return document("Reports", parts)


def _row(folder: Path) -> list[str]:
    text = read_regular(folder / "README.md")[:LONGEST].decode(errors="replace")
    blocks = [block.strip() for block in text.split("\n\n") if block.strip()]
    title = next((block.removeprefix("# ") for block in blocks if block.startswith("# ")), folder.name)
    about = next((block for block in blocks if not block.startswith("#")), "")
    about = about.removeprefix("- ").partition("\n- ")[0].replace("`", "")  # of a list its first point
    verdicts = _verdicts(folder / "claims.csv")
    page = NAME if (folder / NAME).is_file() else "README.md"
    link = f'<a href="{quote(folder.name)}/{page}">{html(folder.name)}</a><br>{html(_plain(title))}'
    counts = [str(verdicts[verdict]) if verdicts else "–" for verdict in VERDICTS]
    return [link, *counts, html(_plain(" ".join(about.split())))]


def _plain(markdown: str) -> str:
    """Text as it was before it was made safe for Markdown."""
    return unescape(re.sub(r"\\([^\w\s])", r"\1", markdown))


def _verdicts(path: Path) -> Counter[str]:
    """How often each verdict stands in a claims.csv; empty where there is none to read."""
    try:
        rows = csv.DictReader(io.StringIO(read_regular(path)[:LONGEST].decode()))
        return Counter(str(row.get("verdict")) for row in rows)
    except (OSError, ValueError, csv.Error):
        return Counter()
