"""Synthetic(alpha, beta) against its published recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files import one_line

from data_prep.dealing.pool import Pool
from data_prep.prepare import prepare
from data_prep.reading.sources import silent
from data_prep.sets import synthetic
from selffl_cli.shards import Shards


def draw(**options: Any) -> Pool:
    return synthetic.Synthetic().load(synthetic.Options(**options), None, silent)


def test_synthetic_is_the_published_recipe() -> None:
    pool = draw(clients=400, alpha=0.5, beta=2.0)
    x, client = pool.arrays["x"], pool.client
    assert client is not None and x.shape[1] == 60 and x.dtype == np.float32
    sizes = np.bincount(client)
    logs = np.log(sizes[sizes > 60] - 50)  # rounding down matters little here
    assert sizes.min() >= 50 and np.median(sizes - 50) == pytest.approx(np.exp(4), rel=0.25)
    assert np.quantile(logs, 0.9) == pytest.approx(4 + 2 * 1.28, abs=0.5)
    large = np.flatnonzero(sizes > 1000)
    spread = np.mean([x[client == k].var(axis=0) for k in large], axis=0)
    assert spread == pytest.approx(np.arange(1, 61) ** -1.2, rel=0.05)
    centres = np.array([x[client == k].mean(axis=0) for k in range(400)])
    assert centres.mean(axis=1).std() == pytest.approx(2, rel=0.1)  # B_k
    assert (centres - centres.mean(axis=1, keepdims=True)).std() == pytest.approx(1, rel=0.05)  # v_k around it
    assert set(np.unique(pool.arrays["y"])) == set(range(10))


def test_synthetic_labels_are_those_of_a_linear_model() -> None:
    """A softmax model of its own tells each client's labels without an error; with iid one does for all."""
    from sklearn.linear_model import LogisticRegression

    def fits(x: np.ndarray, y: np.ndarray) -> float:
        return LogisticRegression(C=1e5, max_iter=4000).fit(x, y).score(x, y)

    pool = draw(clients=8)
    x, y = pool.arrays["x"], pool.arrays["y"]
    for k in range(8):
        own = np.flatnonzero(pool.client == k)[:300]
        if len(set(y[own])) > 1:
            assert fits(x[own], y[own]) == 1
    pool = draw(clients=8, iid=True)
    x, y, client = pool.arrays["x"], pool.arrays["y"], pool.client
    first = np.concatenate([np.flatnonzero(client == k)[:50] for k in range(8)])
    assert fits(x[first], y[first]) > 0.99
    assert np.abs(x.mean(axis=0)).max() < 5 / np.sqrt(len(x))


def test_synthetic_alpha_moves_no_label() -> None:
    """u_k adds the same to every logit."""
    one, other = draw(alpha=0.0), draw(alpha=3.0)
    assert np.array_equal(one.arrays["x"], other.arrays["x"])
    assert np.array_equal(one.arrays["y"], other.arrays["y"])
    assert not np.array_equal(one.arrays["y"], draw(beta=0.0).arrays["y"])


def test_synthetic_repeats_and_prepares(tmp_path: Path) -> None:
    folder = prepare("synthetic", {"clients": 6, "seed": 3}, tmp_path)
    manifest = Shards.open(folder).manifest
    assert manifest.clients == 6 and manifest.notes == {"alpha": 1.0, "beta": 1.0}
    assert manifest.samples.test / sum(manifest.samples.model_dump().values()) == pytest.approx(0.1, abs=0.02)
    assert np.array_equal(draw(seed=3).arrays["x"], draw(seed=3).arrays["x"])
    one_line(lambda: draw(clients=100_000), "ask for fewer --clients")
