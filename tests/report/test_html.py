"""report.html: everything in one file, hostile names stay text, and a browser can hover, sort, hide and zoom."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from run_folders import WHAT, claim, curve, experiment, five_seeds, make, write_run

from selffl_cli.report.build import build
from selffl_cli.report.html.data import embedded
from selffl_cli.report.html.index import index_page

HOSTILE = '</script><script>document.title="owned"</script><img src=x onerror="document.title=1">'


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of an experiment whose every free text tries to be markup."""
    root = tmp_path_factory.mktemp("html")
    for seed in range(5):
        write_run(root / "runs", "actperfl", seed, curve(0.9 + seed / 100))
        write_run(root / "runs", "fedavg", seed, curve(0.8 + seed / 90))
    stated = claim("actperfl:test.personal", "fedavg:test.personal", paper=HOSTILE)
    made = experiment(title=HOSTILE, description=HOSTILE, claims=[{**stated, "text": HOSTILE, "source": HOSTILE}])
    return build(made, root / "runs", root / "out", [], f"selffl report '{HOSTILE}'").folder / "report.html"


class Reader(HTMLParser):
    """Elements, texts and addresses of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "data", "action"):
                self.addresses.append(str(value))
            if name.startswith("on"):
                self.handlers.append(name)


def test_one_file_without_a_network_and_no_text_becomes_markup(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    reader = Reader()
    reader.feed(text)
    assert reader.elements.count("script") == 3 and "img" not in reader.elements and reader.handlers == []
    assert all(not re.match(r"[a-z]+:|//", address) for address in reader.addresses)
    assert "default-src 'none'" in text and HOSTILE not in text
    summary = re.search(r'<ul class="summary">(.*?)</ul>', text, re.S)
    assert summary and summary[1].count("<li>") == 3
    assert "2 methods on digits with 20 clients, over 5 seeds." in summary[1]
    assert "Of 1 claim: 1 " in summary[1]


def test_links_lead_to_the_run_folders(page: Path) -> None:
    reader = Reader()
    reader.feed(page.read_text(encoding="utf-8"))
    assert len(reader.addresses) == 10
    assert all((page.parent / address / "run.toml").is_file() for address in reader.addresses)


def test_embedded_data_cannot_end_their_element() -> None:
    data = {"label": "</script><!--", "values": [1, None]}
    text = embedded(data)
    assert "<" not in text and json.loads(text) == data


@pytest.fixture
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs a chromium on the path")
    words = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]
    with sync.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=[*words, "--disable-component-update"])
        yield started
        started.close()


def test_in_a_browser(page: Path, browser: Any) -> None:
    view = browser.new_page(viewport={"width": 1000, "height": 800})
    said: list[str] = []
    view.on("console", lambda message: said.append(message.text))
    view.on("pageerror", lambda error: said.append(str(error)))
    view.goto(page.as_uri())
    assert view.title() == HOSTILE and view.locator("img").count() == 0

    plot = view.locator("#plot")
    plot.scroll_into_view_if_needed()
    box = plot.bounding_box()
    lines = plot.locator("polyline")
    assert lines.count() == 2
    view.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + 100)
    assert re.search(r"actperfl 9\d.*± .*fedavg 8\d", view.locator("#hover").inner_text())

    whole = lines.first.get_attribute("points")
    view.mouse.down()
    view.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 100)
    view.mouse.up()
    assert lines.first.get_attribute("points") != whole  # zoomed
    view.locator("#reset").click()
    assert lines.first.get_attribute("points") == whole
    view.locator("#legend button").first.press("Enter")  # by keyboard
    assert lines.count() == 1
    view.locator("#axis").select_option("gradients")
    assert lines.count() == 1

    table = view.locator("details table.sorts").first
    column = table.locator("tbody tr td:nth-child(3)")
    assert column.first.inner_text() > column.last.inner_text()
    table.locator("th button").nth(2).click()
    assert column.first.inner_text() < column.last.inner_text()
    assert table.locator("th").nth(2).get_attribute("aria-sort") == "ascending"
    assert said == []


def test_an_index_of_all_reports_counts_their_verdicts(tmp_path: Path) -> None:
    """Made anew with each report that goes beside others; hostile titles stay text."""
    five_seeds(tmp_path / "runs")
    made = make(tmp_path, title="<script>alert(1)</script>", claims=[claim(f"actperfl:{WHAT}", f"fedavg:{WHAT}")])
    other = made.folder.with_name("other")
    other.mkdir()
    (other / "README.md").write_text("# Other\n\nNo claims here.\n")
    text = index_page(made.folder.parent)
    assert "<script>alert" not in text and "&lt;script&gt;alert" in text
    assert '<a href="made/report.html">made</a>' in text and '<a href="other/README.md">other</a>' in text
    assert text.index('href="made/') < text.index('<td class="number">1</td>') < text.index('href="other/')
    assert (made.folder.parent / "index.html").is_file()
