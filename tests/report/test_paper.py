"""The LaTeX tables: what they hold, that they compile, and that none is wider than its page or column."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from run_folders import five_seeds, make

from selffl_cli.report.paper import compact, latex, write_tables
from selffl_cli.report.tables import Cell, Table

pytestmark = pytest.mark.usefixtures("any_run_is_stated")

ROOT = Path(__file__).parents[2]
WIDE = Table(
    "test", "Test accuracy (%) of −1 & 2_x # {y} $z$ 中 é",
    ["setting", "method", "seeds", "personal, equal rounds", "personal, equal gradients", "global, equal rounds",
     "global, equal gradients"],
    [[Cell("partition=dirichlet:alpha=0.1, s0=1e-3"), Cell(label), Cell("5"), Cell("−0.3", "1.2", "best"),
      Cell("96.1", "2.3", "tied"), Cell("–"), Cell("withheld (0/3)")]
     for label in ("actperfl", "fedavg (learning_rate 0.3)", "[x]", "*", "a\\b ~^ “ü” → ∞ ε<1|2>",
                   *("x" * n for n in range(100, 160)))],
)  # fmt: skip


def compiled(tex: list[Path], place: Path, options: str) -> str:
    """The log of pdflatex for one paper that reads the files; fails where it does not compile."""
    read = "\n".join(rf"\input{{{path}}}\clearpage" for path in tex)
    paper = (
        rf"\documentclass{options}{{article}}\usepackage{{booktabs,graphicx}}\begin{{document}}{read}\end{{document}}"
    )
    (place / "paper.tex").write_text(paper)
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(words, cwd=place, capture_output=True, timeout=120)
    said = done.stdout.decode(errors="replace")
    assert done.returncode == 0, said[-2000:]
    return said


needs_pdflatex = pytest.mark.skipif(not shutil.which("pdflatex"), reason="there is no pdflatex here")


@needs_pdflatex
@pytest.mark.parametrize("options", ["", "[twocolumn]"])
def test_tables_compile_and_fit(options: str, tmp_path: Path) -> None:
    write_tables([compact(WIDE), WIDE], "made", tmp_path, "tables.tex", "A note & more")
    log = compiled([tmp_path / "tables.tex"], tmp_path, options)
    assert not re.search("Overfull|multiply defined|too large", log)


@needs_pdflatex
def test_committed_tables_compile_and_fit(tmp_path: Path) -> None:
    """One paper with every table of every experiment."""
    files = sorted(ROOT.glob("results/*/table-*.tex"))
    log = compiled(files, tmp_path, "[twocolumn]")
    assert files and not re.search("Overfull|multiply defined|too large", log)


def test_committed_tables_are_ascii_with_a_label_each() -> None:
    labels = []
    for path in ROOT.glob("results/*/table-*.tex"):
        text = path.read_text(encoding="utf-8")
        assert text.isascii(), path
        labels += re.findall(r"\\label\{(.*)\}", text)
        assert text.count(r"\begin{tabular}") == text.count(r"\label{") > 0, path
    assert len(labels) == len(set(labels))


@pytest.mark.usefixtures("no_pictures")
def test_a_report_writes_a_file_for_each_table(tmp_path: Path) -> None:
    five_seeds(tmp_path / "runs")
    made = make(tmp_path)
    (made.folder / "table-old.tex").write_text("of an older report")
    (made.folder / ".made.json").unlink()  # reports of that time kept no list of what they wrote
    made = make(tmp_path)
    names = {path.name for path in made.folder.glob("table-*.tex")}
    assert names == {"table-compact.tex", *(f"table-{table.name}.tex" for table in made.tables)}
    short = (made.folder / "table-compact.tex").read_text()
    assert r"\begin{table}" in short and r"\label{tab:made-compact}" in short and "worst" not in short
    assert (made.folder / "tables.tex").read_text().count(r"\label{tab:made-") == len(names)


def test_a_row_that_begins_with_a_bracket_is_no_option_of_the_line_before() -> None:
    rows = [line for line in latex(Table("t", "T", ["method"], [[Cell("[x]")], [Cell("*")]]), "t").splitlines()]
    assert r"    {}[x] \\" in rows and r"    {}* \\" in rows
