"""Data that comes in over time: how samples are put into periods, and how shards keep them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.dealing.periods import periods
from data_prep.dealing.pool import Pool, PrepareOptions
from data_prep.prepare import prepare
from selffl_cli.errors import SelfflError, UsageError
from selffl_cli.shards import Shards


def pool(client: np.ndarray, y: np.ndarray, **orders: np.ndarray) -> Pool:
    return Pool({"x": np.zeros((len(y), 1)), "y": y}, ["a", "b", "c", "d"], "", client=client, orders=orders)


@given(st.integers(2, 5), st.lists(st.integers(5, 20), min_size=1, max_size=4), st.integers(0, 9))
def test_equal_parts_of_each_client_with_the_classes_one_after_another(
    number: int, sizes: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    client = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    y = rng.integers(0, 4, len(client))
    y[np.flatnonzero(client == 0)[:2]] = [0, 1]  # one client has two classes at least
    period = periods(pool(client, y), client, PrepareOptions(periods=number, drift="label", seed=seed))
    seen: set[tuple[int, int]] = set()
    for own in range(len(sizes)):
        counts = np.bincount(period[client == own], minlength=number)
        assert counts.max() - counts.min() <= 1 and counts.sum() == sizes[own]
        spans = {c: period[(client == own) & (y == c)] for c in np.unique(y[client == own])}
        order = sorted(spans, key=lambda c: (spans[c].min(), spans[c].max()))
        for before, after in pairwise(order):
            assert spans[before].max() <= spans[after].min()
            if spans[before].min() < spans[after].max():  # an order that can be told, the same for all clients
                assert (after, before) not in seen
                seen.add((before, after))


def test_time_keeps_the_order_of_the_source() -> None:
    client = np.array([0, 1, 0, 1, 0, 0, 1])
    given = pool(client, np.zeros(7, int), time=np.array([5, 1, 3, 2, 9, 7, 0]))
    assert periods(given, client, PrepareOptions(periods=2, drift="time")).tolist() == [0, 0, 0, 1, 1, 1, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"periods": 2, "drift": "time"}, "this data set has no time to drift by; it drifts by label"),
        ({"periods": 2, "drift": "intent"}, "no intent to drift by"),
        ({"periods": 9, "drift": "label"}, "client 0 has 4 samples, too few for a sample in each period; ask"),
    ],
)
def test_what_cannot_be(options: dict[str, Any], message: str) -> None:
    client = np.repeat([0, 1], 4)
    with pytest.raises(UsageError, match=message):
        periods(pool(client, np.tile([0, 1], 4)), client, PrepareOptions(**options))
    with pytest.raises(UsageError, match="no client has two of them, so nothing would drift"):
        periods(pool(client, client), client, PrepareOptions(periods=2, drift="label"))


def test_periods_and_drift_go_together(tmp_path: Path) -> None:
    for options in ({"periods": 3}, {"drift": "label"}):
        with pytest.raises(UsageError, match="periods and drift go together; add --"):
            prepare("digits", options, tmp_path)
    with pytest.raises(UsageError, match="it can have one period only"):
        prepare("gaussian", {"periods": 2, "drift": "label"}, tmp_path)
    assert not list(tmp_path.iterdir())


def test_shards_keep_periods_in_order_and_every_one_has_its_parts(tmp_path: Path) -> None:
    options = {"clients": 3, "partition": "iid", "periods": 4, "drift": "label"}
    folder = prepare("digits", options, tmp_path)
    shards = Shards.open(folder)
    assert shards.periods == 4 and shards.manifest.format_version == 2
    total = 0
    for name in ("train", "validation", "test"):
        part = shards.part(name)
        period = part.arrays["period"].numpy()
        total += len(period)
        for begin, end in zip(part.offsets, part.offsets[1:], strict=False):
            assert (np.diff(period[begin:end]) >= 0).all() and set(period[begin:end]) == {0, 1, 2, 3}
    assert total == 1797


def test_shards_without_periods_are_as_they_always_were(tmp_path: Path) -> None:
    folder = prepare("digits", {"clients": 3}, tmp_path)
    content = json.loads((folder / "manifest.json").read_text())
    assert content["format_version"] == 1 and "periods" not in content
    assert not {"periods", "drift"} & set(content["arguments"])
    shards = Shards.open(folder)
    assert shards.periods == 1 and "period" not in shards.part("train").arrays
    assert folder.name == "digits-dirichlet-alpha1-c3-s0-20747c75"  # found again by older and newer versions alike


def test_a_cell_without_a_training_sample_is_named(tmp_path: Path) -> None:
    with pytest.raises(SelfflError, match="no training sample"):
        for folder in ("train", "valid", "test"):
            (tmp_path / folder).mkdir()
            rows = ["Weather"] * 3 if folder == "train" else ["Music"] * 9
            (tmp_path / folder / "seq.in").write_text("one two\n" * len(rows))
            (tmp_path / folder / "label").write_text("".join(f"{row}\n" for row in rows))
        prepare("snips", {"clients": 1, "periods": 2, "drift": "intent"}, tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()
