"""The house keeps its shape: `benchmarks/house.py` measures it, and this test holds what may not get worse."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from house import House, calls_to_a_gradient

HOUSE = House()


def test_no_file_lies_loose_at_the_root_of_the_package() -> None:
    assert not HOUSE.loose, "give the file a room, see FLOORS in benchmarks/house.py"


def test_no_files_import_each_other_in_a_circle() -> None:
    """Imports inside functions and for type checkers count too."""
    assert not HOUSE.circles


def test_no_room_imports_a_higher_one() -> None:
    assert not HOUSE.back_up


def test_no_fact_of_a_method_stands_outside_its_file() -> None:
    assert not HOUSE.facts_outside, "let the method's class say it, see methods/base.py"


def test_functions_fit_a_screen_and_ask_for_few_things() -> None:
    assert not HOUSE.long_functions and not HOUSE.wide_signatures


def test_few_calls_lie_between_the_command_and_a_gradient() -> None:
    """Four of them are the method's: its round, local training, the step, and the gradient of a batch."""
    assert len(calls_to_a_gradient()) <= 7


def test_the_measure_sees_what_it_is_for(tmp_path: Path) -> None:
    """A loose file, a circle hidden in a function, an import of a higher room, and a fact about a method."""
    package = tmp_path / "selffl_cli"
    for room in ("engine", "methods", "report"):
        (package / room).mkdir(parents=True)
        (package / room / "__init__.py").write_text("")
    (package / "methods/__init__.py").write_text('METHODS = {"fedrep": "x"}\n')
    (package / "stray.py").write_text("")
    (package / "engine/one.py").write_text("from .two import b\n\ndef a(c, d, e, f, g, h, i, j): ...\n")
    (package / "engine/two.py").write_text("def b():\n    from . import one\n    from ..report import page\n")
    (package / "report/page.py").write_text('def c(name):\n    return name == "fedrep"' + "\n    pass" * 60 + "\n")
    (tmp_path / "experiments").mkdir()
    house = House(tmp_path)
    assert house.loose == ["stray"]
    assert house.circles == [["selffl_cli.engine.one", "selffl_cli.engine.two"]]
    assert [str(arrow) for arrow in house.back_up] == ["selffl_cli.engine.two:3 → selffl_cli.report.page"]
    assert house.facts_outside == ["selffl_cli.report.page:2"]
    assert house.long_functions == ["selffl_cli.report.page.c (62)"]
    assert house.wide_signatures == ["selffl_cli.engine.one.a (8)"]
