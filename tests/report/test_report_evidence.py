"""What evidence found, as the page says and draws it; evidence that does not fit together is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from run_folders import five_seeds, make

from selffl_cli.errors import SelfflError
from selffl_cli.report.sections.evidence import _words

FOUND: dict[str, Any] = {
    "form": "pooled", "gains": {"own": [-0.5, 0.2]}, "families": ["global", "own"], "kept": ["global", "own"],
    "dropped": {}, "grid": [0, 1, 2, 4], "candidates": 100, "family": "global", "k": 29.0, "L": 3.0,
    "pooled_place": 2, "k_between": [29.0, 29.0], "pi": {"family": {"global": 1.0, "own": 0.0}, "k": [[29.0, 1.0]]},
    "r": [{"client": 1, "samples": 50, "mass": [[0.0, 0.2, 0.8, 0.0], [0.0, 0.0, 0.0, 0.0]]}],
    "curves": {"global": {"loss": [1.0, 0.8, 0.6, 0.7], "score": [0.5, 0.6, 0.8, 0.7]},
               "own": {"loss": [2.3, 2.0, 1.5, 1.0], "score": [0.1, 0.2, 0.3, 0.5]}},
    "held_out_samples": 40, "not_finite": 0, "walks": 1, "with_evidence": 3, "clients": 3, "samples": [20, 50, 90],
    "amount_family": [0, 0, 0], "amount_steps": [1, 2, 4], "told": [True, True, True],
}  # fmt: skip


def with_evidence(tmp_path: Path, found: dict[str, Any]) -> Path:
    five_seeds(tmp_path / "runs", seeds=1)
    folder = tmp_path / "runs" / "made" / "digits-fedavg-s0-00000000"
    (folder / "evidence.json").write_text(json.dumps(found))
    return folder


def test_the_page_says_how_much_clients_personalise(tmp_path: Path) -> None:
    with_evidence(tmp_path, FOUND)
    report = make(tmp_path)
    page = (report.folder / "README.md").read_text()
    assert "a client with 50 samples moves 63% of the way to its own model" in page
    assert "the held-out loss falls from 1.000 for the global model to 0.600" in page
    assert "1, 2, 4" in page and (report.folder / "evidence-1.png").stat().st_size > 10_000


def test_where_sizes_are_alike_k_is_a_range() -> None:
    words = _words({**FOUND, "k_between": [0.3, 3000.0]})
    assert "too alike" in words and "of the way" not in words


def test_zero_steps_are_said_as_what_they_are() -> None:
    assert "does not pay" in _words({**FOUND, "amount_steps": [0, 0, 0], "pooled_place": 0})
    assert "no evidence" in _words({**FOUND, "with_evidence": 0})


@pytest.mark.parametrize(
    "change",
    [{"family": "head"}, {"grid": [0, 1]}, {"amount_family": [0, 0, 7]}, {"samples": [1]}, {"k": "x"},
     {"k_between": [1.0]}, {"pooled_place": 9}, {"curves": {}}],
    ids=str,
)  # fmt: skip
def test_evidence_that_does_not_fit_together_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    with_evidence(tmp_path, {**FOUND, **change})
    with pytest.raises(SelfflError, match="evidence.json: cannot be read"):
        make(tmp_path)
