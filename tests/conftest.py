"""What every test starts from: one thread a process, and the large data sets where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Before torch is imported anywhere, and passed on to the processes that tests start.
os.environ["OMP_NUM_THREADS"] = "1"
# Help and tables as on a plain terminal of 80 columns, whatever the one is that runs the tests.
os.environ["COLUMNS"] = "80"
for variable in ("FORCE_COLOR", "GITHUB_ACTIONS", "PY_COLORS", "TERMINAL_WIDTH"):
    os.environ.pop(variable, None)

# Properties are judged by what they say, not by how busy the machine is.
settings.register_profile("any speed", deadline=None)
settings.load_profile("any speed")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of downloaded data sets beside the repository."""
    folder = Path(__file__).parents[1].parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("needs the data sets in ../shared/data, which are not here")
    return folder


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--flips", type=int, help="bits to flip in each file (tests/runs/test_damage.py)")


@pytest.fixture
def any_run_is_stated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs written by hand stand for those of the TOML: such tests ask what is made of runs, not which are chosen."""
    monkeypatch.setattr("selffl_cli.planning.stated.StatedRun.differences", lambda self, record: {})


@pytest.fixture
def no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports without pictures, which take most of their time."""
    monkeypatch.setattr("selffl_cli.report.build._draw", lambda *_: [])
