"""A part that was asked for and holds nothing is found in `prepare`, whichever data set it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_prep.prepare import prepare
from selffl_cli.errors import SelfflError
from selffl_cli.shards import read_manifest


def test_an_empty_test_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SelfflError, match=r"no sample is in the test part .* the largest has 1; ask for fewer --clien"):
        prepare("digits", {"clients": 1797}, tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("options", [{"clients": 1797, "test": 0}, {"clients": 898, "test": 0.9}], ids=str)
def test_an_empty_validation_part_is_said(options: dict[str, object], tmp_path: Path) -> None:
    notes = read_manifest(prepare("digits", {"partition": "iid", **options}, tmp_path / "data")).notes
    assert "nothing can be tuned or stopped by it" in notes["no_validation"]


def test_a_part_that_nobody_asked_for_may_be_empty(tmp_path: Path) -> None:
    assert prepare("digits", {"clients": 1797, "test": 0, "validation": 0}, tmp_path / "data").is_dir()
    assert prepare("gaussian", {}, tmp_path / "data").is_dir()
