"""Light and heavy clients, groups, how soon a target is reached; and how far clients differ in their labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from problems import class_shards
from run_folders import curve, five_seeds, make, write_run

from data_prep.dealing.partition import Samples, partitioner
from data_prep.pictures import divergence
from selffl_cli.config.experiment import ReportConfig
from selffl_cli.errors import UsageError
from selffl_cli.report.figures.fairness import figures, light_and_heavy
from selffl_cli.report.figures.target import target_points


def scores(**columns: list) -> pd.DataFrame:
    return pd.DataFrame(columns)


def test_ends_and_groups_by_hand() -> None:
    made = figures(
        scores(
            n_train=[5, 100, 7, 90, 50, 40, 30, 20], group=["a", "a", "a", "b", "b", "b", "", "c"],
            personal=[0.2, 1.0, 0.4, 0.8, 0.5, 0.5, 0.5, 0.7],
        ),
        higher_is_better=True,
    )  # fmt: skip
    assert made["personal.light"] == pytest.approx(0.3) and made["personal.heavy"] == pytest.approx(0.9)
    assert made["personal.heavy_gap"] == pytest.approx(0.6)
    assert made["personal.worst_group"] == pytest.approx(1.6 / 3)  # a; b is 0.6, c 0.7
    assert made["personal.group_gap"] == pytest.approx(0.7 - 1.6 / 3)
    assert not [name for name in made if name.startswith("global")]


def test_clients_of_one_size_and_one_group_have_neither() -> None:
    assert light_and_heavy(np.array([10, 11, 12, 12])) is None
    assert light_and_heavy(np.array([1, 100])) is None
    assert figures(scores(n_train=[10, 11], group=["", ""], personal=[0.1, 0.9]), True) == {}


@given(st.lists(st.integers(1, 1000), min_size=4, max_size=50))
def test_light_clients_have_fewer_samples_than_heavy_ones(sizes: list[int]) -> None:
    found = light_and_heavy(np.array(sizes))
    if found:
        light, heavy = found
        assert not set(light) & set(heavy) and len(light) == len(heavy) >= 1
        assert np.array(sizes)[light].max() <= np.array(sizes)[heavy].min()


def test_the_first_evaluation_at_the_target_counts(tmp_path: Path) -> None:
    rows = [
        (label, "", 0, round_, 10.0 * round_, "test.global.accuracy", value)
        for label, values in (("a", [0.1, 0.8, 0.7, 0.9]), ("b", [0.1, 0.2, 0.3, 0.4]))
        for round_, value in enumerate(values)
    ]
    points = pd.DataFrame(rows, columns=["label", "setting", "seed", "round", "gradients", "what", "value"])
    found = target_points(points, ReportConfig(target=0.75))
    assert found[["label", "what", "value", "round"]].to_numpy().tolist() == [
        ["a", "method.rounds_to_target", 1.0, 3], ["a", "method.gradients_to_target", 10.0, 3],
    ]  # fmt: skip
    assert target_points(points, ReportConfig()).empty
    loss = points.assign(what="test.global.loss")
    asked = ReportConfig(target=0.25, target_figure="test.global.loss")
    assert target_points(loss, asked)["label"].unique().tolist() == ["a", "b"]


def test_the_report_shows_them(tmp_path: Path) -> None:
    five_seeds(tmp_path / "runs")
    claim = {"id": "soon", "text": "sooner", "left": "actperfl:method.rounds_to_target",
             "right": "fedavg:method.rounds_to_target", "relation": "less"}  # fmt: skip
    make(tmp_path, report={"target": 0.85}, claims=[claim])
    page = (tmp_path / "results" / "made" / "README.md").read_text()
    assert "### Heavy and light clients and groups, personal models: test accuracy (%), equal rounds" in page
    assert "| local | 0 of 5 | – | – |" in page and "| actperfl | 5 of 5 |" in page
    assert "![fairness]" in page and (tmp_path / "results" / "made" / "fairness.png").is_file()
    assert "`soon`" in page


def test_groups_are_drawn(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    folder = write_run(tmp_path / "runs", "fedavg", 0, curve(0.9))
    table = parquet.read_table(folder / "clients.parquet").to_pandas()
    table["group"] = ["near", "far"] * 10
    parquet.write_table(pa.Table.from_pandas(table), folder / "clients.parquet")
    report = make(tmp_path, methods={"fedavg": {}})
    assert "best − worst group" in (report.folder / "README.md").read_text()


# how far clients differ


def test_divergences_by_hand() -> None:
    found = divergence.divergences(np.array([[1.0, 1, 0], [0, 0, 3], [2, 2, 0], [1, 1, 2]]))
    far = (np.log2(4 / 3) + 0.5 * np.log2(2 / 3) + 0.5) / 2  # of (1/2, 1/2, 0) and (1/4, 1/4, 1/2)
    expected = [[0, 1, 0, far], [1, 0, 1, far], [0, 1, 0, far], [far, far, far, 0]]
    np.testing.assert_allclose(found, expected, atol=1e-12)


@given(st.lists(st.lists(st.integers(0, 20), min_size=3, max_size=3).filter(any), min_size=2, max_size=8))
def test_divergences_are_symmetric_and_between_zero_and_one(rows: list[list[int]]) -> None:
    found = divergence.divergences(np.array(rows, dtype=float))
    np.testing.assert_allclose(found, found.T, atol=1e-12)
    assert (found >= 0).all() and (found <= 1 + 1e-12).all()
    np.testing.assert_allclose(np.diag(found), 0, atol=1e-12)


def test_the_picture_is_bounded(tmp_path: Path) -> None:
    labels = np.random.default_rng(0).integers(1, 9, (5000, 4)).astype(float)
    shown = divergence.chosen_clients(labels)
    assert len(shown) == divergence.SHOWN == len(set(shown))
    main = labels[shown].argmax(axis=1)
    assert (np.diff(main) >= 0).all() and set(main) == set(range(4))
    shards = class_shards(tmp_path / "s", clients=6)
    drawn = divergence.draw(shards)
    assert drawn is not None and drawn[0].is_file() and 0 < drawn[1] < 1


def test_label_skew_with_sizes_by_a_power_law() -> None:
    labels = np.random.default_rng(0).integers(0, 5, 4000)
    for spec in ("dirichlet:alpha=0.5,exponent=1.2,min=3", "iid:exponent=1.2,min=3"):
        client = partitioner(spec).deal(Samples(labels), 40, np.random.default_rng(1))
        sizes = np.sort(np.bincount(client, minlength=40))[::-1]
        assert sizes.sum() == 4000 and sizes.min() >= 3
        expected = 3 + (4000 - 120) * np.arange(1, 41) ** -1.2 / (np.arange(1, 41) ** -1.2).sum()
        assert abs(sizes - expected).max() <= 1
    with pytest.raises(UsageError, match="not both"):
        partitioner("dirichlet:alpha=1,spread=0.5,exponent=1")
