"""Partitioners: every sample to one client, nobody empty, stable for a seed, and as skewed as asked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from data_prep.dealing.deal import split
from data_prep.dealing.partition import PARTITIONERS, Samples, canonical, few_classes, label_skew, partitioner
from data_prep.dealing.sizes import apportion, dirichlet_sizes, power_law_sizes, spread_sizes
from selffl_cli.errors import UsageError

SPECS = st.one_of(
    st.just("iid"),
    st.floats(0.05, 1.5).map(lambda spread: f"iid:spread={spread}"),
    st.floats(1e-6, 1e3).map(lambda alpha: f"dirichlet:alpha={alpha}"),
    st.floats(0.05, 50).map(lambda alpha: f"dirichlet:alpha={alpha},spread=0.5"),
    st.floats(1e-6, 1e3).map(lambda alpha: f"dirichlet-size:alpha={alpha}"),
    st.floats(0, 4).map(lambda exponent: f"powerlaw:exponent={exponent}"),
    st.integers(1, 6).map(lambda classes: f"shards:classes={classes}"),
    st.integers(2, 5).map(lambda clusters: f"kmeans:alpha=0.3,clusters={clusters}"),
)


@st.composite
def problems(draw: st.DrawFn) -> tuple[np.ndarray, int]:
    """Labels, often very unequal and not from 0 on, and a number of clients from one to one a sample."""
    classes = draw(st.integers(1, 6))
    counts = draw(st.lists(st.integers(1, 40), min_size=classes, max_size=classes))
    labels = np.repeat(3 * np.arange(classes), counts)
    return labels, draw(st.integers(1, len(labels)))


def deal(spec: str, labels: np.ndarray, clients: int, seed: int = 0) -> np.ndarray:
    features = np.random.default_rng(0).normal(size=(len(labels), 3)) + labels[:, None]
    return partitioner(spec).deal(Samples(labels, None, lambda: features), clients, np.random.default_rng(seed))


@settings(max_examples=300, deadline=None)
@given(problem=problems(), spec=SPECS, seed=st.integers(0, 2**31 - 1))
def test_every_sample_once_nobody_empty_seed_stable(problem: tuple[np.ndarray, int], spec: str, seed: int) -> None:
    labels, clients = problem
    try:
        client = deal(spec, labels, clients, seed)
    except UsageError:  # impossible here, and said so; the kinds that are always possible never refuse
        assert spec.startswith(("shards", "kmeans")) or "spread" in spec
        assume(False)
    assert client.shape == labels.shape and client.dtype.kind == "i"
    assert sorted(set(client.tolist())) == list(range(clients))
    assert np.array_equal(client, deal(spec, labels, clients, seed))


def test_another_seed_is_another_deal() -> None:
    labels = np.repeat(np.arange(5), 40)
    for spec in (
        "iid",
        "dirichlet:alpha=0.3",
        "dirichlet-size:alpha=1",
        "powerlaw",
        "shards",
        "kmeans:alpha=1",
    ):
        assert not np.array_equal(deal(spec, labels, 10, 0), deal(spec, labels, 10, 1)), spec


@given(total=st.integers(0, 10**9), weights=st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=50))
def test_apportion(total: int, weights: list[float]) -> None:
    shares = apportion(total, np.array(weights))
    exact = total * np.array(weights) / np.sum(weights)
    assert shares.sum() == total and (np.abs(shares - exact) < 1 + 1e-6).all()


@pytest.mark.parametrize("spread, minimum", [(0.6, 1), (32 / 53, 10), (0.2, 1), (1.5, 1)])
def test_sizes_have_the_spread_asked_for(spread: float, minimum: int) -> None:
    """Mean 45 and standard deviation 32/53 of it over 772 clients: the statistics of FedProx's Sent140."""
    for seed in range(5):
        sizes = spread_sizes(34_836, 772, np.random.default_rng(seed), spread, minimum)
        assert sizes.sum() == 34_836 and sizes.min() >= minimum
        assert sizes.std() / sizes.mean() == pytest.approx(spread, rel=0.01)


def test_equal_sizes_differ_by_one() -> None:
    sizes = spread_sizes(1797, 20, np.random.default_rng(0))
    assert sorted(set(sizes.tolist())) == [89, 90] and sizes.sum() == 1797


def test_power_law_sizes_follow_the_ranks() -> None:
    sizes = np.sort(power_law_sizes(100_000, 50, np.random.default_rng(0), exponent=1.2, minimum=3))[::-1]
    expected = np.arange(1, 51) ** -1.2
    assert np.abs(sizes - 3 - (100_000 - 150) * expected / expected.sum()).max() <= 1


@pytest.mark.parametrize("alpha, low, high", [(0.1, 2.0, 3.1), (1e5, 0.0, 0.02)])
def test_dirichlet_sizes_spread_with_small_alpha(alpha: float, low: float, high: float) -> None:
    """The coefficient of variation of Dir(alpha) over M entries is sqrt((M - 1)/(M alpha + 1))."""
    spreads = []
    for seed in range(200):
        sizes = dirichlet_sizes(100_000, 100, np.random.default_rng(seed), alpha)
        spreads.append((sizes.std() / sizes.mean()) ** 2)
    assert low < np.sqrt(np.mean(spreads)) < high
    assert np.sqrt(np.mean(spreads)) == pytest.approx(np.sqrt(99 / (100 * alpha + 1)), abs=0.15)


def test_label_skew_draws_from_dir_alpha_p() -> None:
    """Shares q of Dir(alpha p) have mean p and variance p(1 - p)/(alpha + 1), for unequal p.

    Two small clients and one that takes all the rest: where that one deals last, as the first draw of the
    generator decides, nothing runs out for the small ones and their mixes are as drawn.
    """
    counts = np.array([6000, 3000, 1000])
    labels, p = np.repeat(np.arange(3), counts), counts / counts.sum()
    for alpha in (0.3, 5.0):
        shares: list[np.ndarray] = []
        for seed in range(900):
            if np.random.default_rng(seed).permutation(3)[-1] != 2:
                continue
            client = label_skew(labels, np.array([500, 500, 9000]), alpha, np.random.default_rng(seed))
            shares += [np.bincount(labels[client == m], minlength=3) / 500 for m in (0, 1)]
        drawn = np.array(shares)
        assert drawn.mean(0) == pytest.approx(p, abs=0.06)
        assert drawn.var(0) == pytest.approx(p * (1 - p) / (alpha + 1), rel=0.3)


def test_label_skew_keeps_the_sizes() -> None:
    labels = np.repeat(np.arange(10), 100)
    sizes = spread_sizes(1000, 30, np.random.default_rng(1), 0.8)
    client = label_skew(labels, sizes, 0.1, np.random.default_rng(2))
    assert np.array_equal(np.bincount(client, minlength=30), sizes)


@pytest.mark.parametrize("classes, spread", [(1, 0.0), (2, 0.0), (2, 0.6), (5, 0.0), (10, 0.0)])
def test_shards_give_exactly_so_many_classes(classes: int, spread: float) -> None:
    labels = np.repeat(np.arange(10), [182, 180, 177, 183, 181, 182, 181, 179, 174, 178])
    client = few_classes(labels, 60, classes, np.random.default_rng(0), spread)
    held = [len(set(labels[client == m].tolist())) for m in range(60)]
    assert set(held) == {classes}


def test_shards_pair_classes_at_random() -> None:
    labels = np.repeat(np.arange(10), 100)
    client = few_classes(labels, 100, 2, np.random.default_rng(0))
    pairs = {tuple(sorted(set(labels[client == m].tolist()))) for m in range(100)}
    assert len(pairs) > 25  # of 45


def test_kmeans_clusters_are_dealt_as_labels() -> None:
    centres = np.repeat(np.arange(4) * 100.0, 50)
    samples = Samples(np.zeros(200, int), None, lambda: centres[:, None] + np.arange(200)[:, None] % 2)
    client = partitioner("kmeans:alpha=0.01,clusters=4").deal(samples, 20, np.random.default_rng(0))
    assert np.array_equal(np.bincount(client), [10] * 20)
    purity = [np.unique(centres[client == m], return_counts=True)[1].max() / 10 for m in range(20)]
    assert np.mean(purity) > 0.8


def test_natural_is_what_the_source_says() -> None:
    natural = np.array([0, 0, 1, 2, 1])
    dealt = partitioner("natural").deal(Samples(np.zeros(5, int), natural), 3, np.random.default_rng(0))
    assert np.array_equal(dealt, natural)


@pytest.mark.parametrize(
    "spec, words",
    [
        ("dirichet:alpha=1", "did you mean 'dirichlet'"),
        ("dirichlet", "alpha is missing; for example dirichlet:alpha=0.3"),
        ("dirichlet:alpa=1", "did you mean 'alpha'"),
        ("dirichlet:alpha=1,sprad=1", "did you mean 'spread'"),
        ("dirichlet:alpha=0", "greater than 0"),
        ("dirichlet:alpha=-1", "greater than 0"),
        ("dirichlet:alpha=nan", "alpha = nan"),
        ("dirichlet:alpha=x", "alpha = 'x'"),
        ("iid:min=0", "min = 0"),
        ("shards:classes=0", "classes = 0"),
        ("kmeans:alpha=1,clusters=1", "clusters = 1"),
        ("powerlaw:exponent=-1", "exponent = -1"),
        ("dirichlet:0.3", "is not key=value"),
    ],
)
def test_bad_specs_are_named(spec: str, words: str) -> None:
    with pytest.raises(UsageError, match=words.replace("[", r"\[")) as caught:
        partitioner(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spec, clients, words",
    [
        ("iid", 101, "101 clients, but only 100 samples"),
        ("iid:min=11", 10, "lower min or the number of clients"),
        ("iid:spread=5", 10, "can have"),
        ("iid:min=10,spread=0.1", 10, "can have 0 at most"),
        ("shards:classes=5", 10, "choose classes from 1 to 4"),
        ("shards:classes=1", 3, "choose classes from 2 to 4"),
        ("kmeans:alpha=1,clusters=101", 10, "only 100 samples"),
        ("natural", 10, "no clients of its own"),
    ],
)
def test_impossible_deals_are_named(spec: str, clients: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        deal(spec, np.repeat(np.arange(4), 25), clients)


def test_canonical_spec_is_the_same_for_the_same_partition() -> None:
    same = ("dirichlet:alpha=0.3", " dirichlet: min=1 , alpha = 0.30,spread=0", "dirichlet:alpha=3e-1")
    assert {canonical(spec) for spec in same} == {"dirichlet:alpha=0.3"}
    assert canonical("shards:classes=2") == canonical("shards") == "shards"
    assert canonical("dirichlet:alpha=2.0,min=3") == canonical("dirichlet:min=3,alpha=2") == "dirichlet:alpha=2,min=3"


def test_every_partition_says_what_it_is() -> None:
    for name in PARTITIONERS:
        spec = f"{name}:alpha=0.3" if "alpha" in PARTITIONERS[name].model_fields else name
        assert partitioner(spec).words()


@settings(max_examples=200, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=30),
    validation=st.sampled_from([0.0, 0.1, 0.5, 0.99]),
    test=st.sampled_from([0.0, 0.2, 0.5, 0.99]),
    seed=st.integers(0, 2**31 - 1),
)
def test_split_inside_each_client(sizes: list[int], validation: float, test: float, seed: int) -> None:
    client = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    part = split(client, validation, test, np.random.default_rng(seed))
    assert np.array_equal(part, split(client, validation, test, np.random.default_rng(seed)))
    for m, n in enumerate(sizes):
        trained, validated, tested = np.bincount(part[client == m], minlength=3)
        assert trained >= 1 and trained + validated + tested == n
        assert tested == 0 if test == 0 else tested >= (n >= 2)
        assert validated == 0 if validation == 0 else validated >= (test > 0 and test < 0.9 and n >= 4)
        if n >= 3 and test == 0.2 and validation == 0.1:
            assert validated >= 1 and abs(tested - 0.2 * n) <= max(0.5, 1 - 0.2 * n)
            assert abs(validated - 0.1 * (n - tested)) <= max(0.5, 1 - 0.1 * (n - tested))


def test_split_draws_samples_at_random() -> None:
    client = np.repeat([0, 1], 1000)
    part = split(client, 0.1, 0.2, np.random.default_rng(0))
    assert np.bincount(part).tolist() == [1440, 160, 400]
    for rows in (part[:500], part[500:1000]):  # not the first or last ones of a client
        assert 60 < (rows == 2).sum() < 140
