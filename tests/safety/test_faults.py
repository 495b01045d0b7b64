"""Twenty kills of real processes, and commands that race each other; tests/faults.py by hand for hundreds."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults import Harness

SHORT = (
    "train-actperfl",
    "train-fedavg-2",
    "train-disk",
    "train-warm-start",
    "prepare-gaussian",
    "prepare-force",
    "report",
)
KILLS = 20


@pytest.mark.slow
def test_twenty_kills(tmp_path: Path) -> None:
    harness = Harness(tmp_path, seed=0, real=False)
    harness.kills(KILLS, [harness.cases[name] for name in SHORT], print)
    assert harness.tally.kills >= KILLS
    assert len(harness.tally.cases) >= 5
