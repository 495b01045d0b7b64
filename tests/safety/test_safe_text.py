"""Text from anywhere, made safe for a terminal, a page, a spreadsheet, a picture and a paper."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from selffl_cli.cli.encoding import any_encoding
from selffl_cli.cli.terminal import Terminal
from selffl_cli.errors import one_line, printable
from selffl_cli.report.safe_text import code, csv_cell, markdown, paragraphs, prose, tex

ROOT = Path(__file__).parents[2]
HOSTILE = (
    "\x1b[31mred\x1b]0;title\x07 [bold]b[/i] :smile: <script>alert(1)</script> $x_1^2$ | `c` ](http://x) \u202eabc"
)


def shown(*content: object, **options: object) -> str:
    file = io.StringIO()
    Terminal(file=file, width=200, **options).print(*content)
    return file.getvalue()


def test_the_terminal_shows_text_as_text() -> None:
    table = Table(title=HOSTILE, caption=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE, "bold"))
    for said in (shown(HOSTILE), shown(table), shown(HOSTILE, force_terminal=False)):
        assert "\x1b" not in said and "\x07" not in said and "\u202e" not in said
        assert "[bold]b[/i] :smile:" in " ".join(said.split())


def test_styles_still_reach_a_terminal() -> None:
    said = shown(Text("fine", "red"), force_terminal=True, color_system="standard")
    assert said == "\x1b[31mfine\x1b[0m\n"


@given(st.text())
def test_one_line_is_printable(text: str) -> None:
    assert one_line(text).isprintable()
    assert all(c.isprintable() or c == "\n" for c in printable(text))


def test_a_value_in_a_page_is_no_markup() -> None:
    text = markdown(HOSTILE)
    assert "<script" not in text and "](" not in text and "\x1b" not in text
    assert not re.search(r"(?<!\\)[|`$]", text)
    assert markdown("train.learning_rate=0.1") == "train.learning_rate=0.1"
    assert markdown("_x_ **b** a&lt;b & c") == "\\_x\\_ \\*\\*b\\*\\* a&amp;lt;b & c"
    assert code("a`b\n```") == "`a'b '''`"


@pytest.mark.parametrize("text", ["# heading", "> quotation", "```sh", "~~~", "--- x", "- item", "* item", "==="])
def test_a_sentence_begins_no_block(text: str) -> None:
    assert not re.match(r"\s*(#|>|```|~~~|---|===|[-+*] )", prose(text))
    assert "\n" not in prose(f"a\n{text}")


def test_sentences_keep_their_emphasis() -> None:
    assert paragraphs("**Two** `words`\nhere.\n\n<img src=x>\n") == "**Two** `words` here.\n\n&lt;img src=x>"


@pytest.mark.parametrize("text", ["=1+1", "+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_cell_is_no_formula(text: str) -> None:
    assert csv_cell(text)[0] not in "=+-@\t\r"
    assert csv_cell(-0.5) == -0.5 and csv_cell("fedavg") == "fedavg"


def test_any_character_reaches_a_stream_of_any_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="latin-1", write_through=True))
    any_encoding()
    print("0.5 ± 0.1 → é – 中 \udc80")
    assert raw.getvalue() == "0.5 ± 0.1 -> é - \\u4e2d \\udc80\n".encode("latin-1")


@given(st.text())
def test_latex_gets_ascii(text: str) -> None:
    assert re.fullmatch(r"[\x20-\x7e]*", tex(text))


def test_latex_has_a_way_to_write_it() -> None:
    assert tex("−0.5 ± 1 – 50 % of x_1 & {y} ~^\\") == (
        r"$-$0.5 $\pm$ 1 -- 50 \% of x\_1 \& \{y\} \textasciitilde{}\textasciicircum{}\textbackslash{}"
    )
    assert tex("Müller, naïve façade, Łódź, ß") == r"M\"{u}ller, na\"{i}ve fa\c{c}ade, \L{}\'{o}d\'{z}, \ss{}"
    assert tex("ε ∈ Ω 中 x²") == r"$\epsilon$ $\in$ $\Omega$ U+4E2D x$^{2}$"


def test_everything_printed_goes_through_the_terminal() -> None:
    """No command builds a console of its own, and no string is rich's markup."""
    for path in [*ROOT.glob("selffl_cli/**/*.py"), *ROOT.glob("data_prep/**/*.py")]:
        text = path.read_text(encoding="utf-8")
        assert path.name == "terminal.py" or not re.search(r"(?<!\w)Console\(", text), path
        assert "rich.markup" not in text and ("markup=True" not in text or path.name == "keys.py"), path


def test_every_file_of_a_report_is_written_by_a_function_that_makes_text_safe() -> None:
    for path in ROOT.glob("selffl_cli/report/**/*.py"):
        for line in path.read_text(encoding="utf-8").splitlines():
            assert "to_csv(" not in line or "safe.to_csv" in line, (path, line)
            assert "savefig(" not in line or path.name == "style.py", (path, line)
