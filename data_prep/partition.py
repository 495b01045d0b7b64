"""How samples are dealt to clients: one small library for all data sets.

The functions are pure: labels, sizes or features and a generator in, the client index of each sample out.
Every sample goes to exactly one client and no client stays empty. The classes below them read what a person
types, `name:option=value,…`.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Any

import numpy as np
from pydantic import Field

from selffl_cli.errors import UsageError, nearest
from selffl_cli.spec import format_spec, parse_spec
from selffl_cli.validation import Strict, validate

from .sizes import (
    apportion,
    check_sizes,
    dirichlet_sizes,
    draw_dirichlet,
    power_law_sizes,
    spread_sizes,
)


def by_size(sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Samples at random to clients of these sizes: client index [sizes.sum()]."""
    return rng.permutation(np.repeat(np.arange(len(sizes)), sizes))


def label_skew(labels: np.ndarray, sizes: np.ndarray, alpha: float, rng: np.random.Generator) -> np.ndarray:
    """Each client fills its size from its own mix of labels, drawn from Dir(alpha p), p the label shares.

    With K equally frequent labels this is the symmetric Dirichlet of alpha/K a label: the smaller alpha, the
    fewer labels a client has. Clients draw without replacement, in random order; when a label runs out, the
    rest of a client's mix is renormalised, and when nothing of its mix is left it takes from what is left.
    Hsu, Qi and Brown, "Measuring the Effects of Non-Identical Data Distribution" (2019), section 2. Returns
    the client index [n].
    """
    _, labels = np.unique(labels, return_inverse=True)
    counts = np.bincount(labels)
    left, taken = counts.copy(), np.zeros((len(sizes), len(counts)), np.int64)
    for client in rng.permutation(len(sizes)):
        mix = draw_dirichlet(alpha * counts / counts.sum(), rng)
        need = int(sizes[client])
        while need:
            wanted = np.where(left > 0, mix, 0.0)
            if wanted.sum() < 1e-12:
                drawn = rng.multivariate_hypergeometric(left, need, method="marginals")
            else:
                drawn = np.minimum(rng.multinomial(need, wanted / wanted.sum()), left)
            taken[client] += drawn
            left -= drawn
            need -= int(drawn.sum())
    return _deal_counts(labels, taken, rng)


def _deal_counts(labels: np.ndarray, taken: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Client index [n] when client m gets `taken[m, k]` samples of label k, which ones at random."""
    client = np.empty(len(labels), np.int64)
    for label in range(taken.shape[1]):
        rows = np.flatnonzero(labels == label)
        client[rows] = rng.permutation(np.repeat(np.arange(len(taken)), taken[:, label]))
    return client


def few_classes(
    labels: np.ndarray, clients: int, classes: int, rng: np.random.Generator, spread: float = 0.0
) -> np.ndarray:
    """Every client holds exactly `classes` labels, a label is shared among its holders; client index [n].

    A label has holders in proportion to its samples. With `spread`, holders share by client weights of that
    coefficient of variation; FedProx's MNIST is of this kind (Li et al. 2020: two digits a client, unequal
    sizes).
    """
    _, labels = np.unique(labels, return_inverse=True)
    counts = np.bincount(labels)
    check_sizes(len(labels), clients, classes)
    if classes > len(counts) or clients * classes < len(counts):
        raise UsageError(
            f"shards:classes={classes}: {clients} clients cannot share {len(counts)} labels so; "
            f"choose classes from {-(-len(counts) // clients)} to {len(counts)}"
        )
    holders = _holders(clients * classes, counts, clients)
    # weights as whole numbers of a large total, so that one function draws every kind of unequal size
    weights = spread_sizes(1000 * clients, clients, rng, spread)
    taken = np.zeros((clients, len(counts)), np.int64)
    held = np.zeros((clients, len(counts)), bool)
    left = holders.copy()
    for done in range(clients):
        # labels that every client still to come must hold, then others in proportion to their open places
        forced = np.flatnonzero(left == clients - done)
        free = np.flatnonzero((left > 0) & (left < clients - done))
        more = classes - len(forced)
        chosen = rng.choice(free, more, replace=False, p=left[free] / left[free].sum()) if more else free[:0]
        held[done, forced] = held[done, chosen] = True
        left -= held[done]
    held = held[rng.permutation(clients)]
    for label in range(len(counts)):
        who = np.flatnonzero(held[:, label])
        taken[who, label] = 1 + apportion(int(counts[label]) - len(who), weights[who].astype(float))
    return _deal_counts(labels, taken, rng)


def _holders(places: int, counts: np.ndarray, clients: int) -> np.ndarray:
    """Holders of each label: `places` in all, proportional to `counts` (Sainte-Laguë), from 1 to what can
    be.
    """
    highest = np.minimum(counts, clients)
    if highest.sum() < places:
        raise UsageError("shards: too few samples of some labels for so many clients; ask for fewer")
    holders = np.ones(len(counts), np.int64)
    queue = [(-count / 3, label) for label, count in enumerate(counts)]
    heapq.heapify(queue)
    for _ in range(places - len(counts)):
        while holders[queue[0][1]] == highest[queue[0][1]]:
            heapq.heappop(queue)
        label = queue[0][1]
        holders[label] += 1
        heapq.heapreplace(queue, (-counts[label] / (2 * holders[label] + 1), label))
    return holders


def cluster(features: Any, clusters: int, rng: np.random.Generator) -> np.ndarray:
    """k-means cluster of each row of `features` [n, d], dense or sparse."""
    import warnings

    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    if clusters > features.shape[0]:
        raise UsageError(f"kmeans:clusters={clusters}: there are only {features.shape[0]} samples")
    # one thread: the bits of a BLAS sum depend on the number of threads, and a tie can fall either way
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", ConvergenceWarning
        )  # fewer distinct samples than clusters is no error here
        return KMeans(clusters, n_init=3, random_state=int(rng.integers(2**31))).fit_predict(features)


class Samples:
    """What a partitioner may look at: labels int [n], natural clients int [n] or None, features when asked
    for.
    """

    def __init__(
        self, labels: np.ndarray, natural: np.ndarray | None = None, features: Callable[[], Any] | None = None
    ) -> None:
        self.labels, self.natural, self.features = labels, natural, features

    def __len__(self) -> int:
        return len(self.labels)


class Partitioner(Strict):
    def deal(self, samples: Samples, clients: int, rng: np.random.Generator) -> np.ndarray:
        """Client index of each sample [n]."""
        raise NotImplementedError

    def words(self) -> str:
        """The partition in a few words, for a person."""
        raise NotImplementedError


class Natural(Partitioner):
    def deal(self, samples: Samples, clients: int, rng: np.random.Generator) -> np.ndarray:
        if samples.natural is None:
            raise UsageError("partition 'natural': this data set has no clients of its own; choose another")
        return samples.natural

    def words(self) -> str:
        return "clients as the source has them"


class Sized(Partitioner):
    spread: float = Field(0.0, ge=0, le=1e3)
    minimum: int = Field(1, ge=1, alias="min")

    def sizes(self, samples: int, clients: int, rng: np.random.Generator) -> np.ndarray:
        return spread_sizes(samples, clients, rng, self.spread, self.minimum)

    def size_words(self) -> str:
        least = f", at least {self.minimum}" if self.minimum > 1 else ""
        return (f"sizes spread by {self.spread:g} of their mean" if self.spread else "equal sizes") + least


class Iid(Sized):
    def deal(self, samples: Samples, clients: int, rng: np.random.Generator) -> np.ndarray:
        return by_size(self.sizes(len(samples), clients, rng), rng)

    def words(self) -> str:
        return f"at random, {self.size_words()}"


class Dirichlet(Sized):
    alpha: float = Field(gt=0, le=1e6)

    def deal(self, samples: Samples, clients: int, rng: np.random.Generator) -> np.ndarray:
        return label_skew(samples.labels, self.sizes(len(samples), clients, rng), self.alpha, rng)

    def words(self) -> str:
        return f"labels skewed by Dirichlet({self.alpha:g} p), {self.size_words()}"


class KMeans(Sized):
    alpha: float = Field(gt=0, le=1e6)
    clusters: int = Field(10, ge=2, le=10_000)

    def deal(self, samples: Samples, clients: int, rng: np.random.Generator) -> np.ndarray:
        if samples.features is None:
            raise UsageError("partition 'kmeans': this data set has no features to cluster; choose another")
        clusters = cluster(samples.features(), self.clusters, rng)
        return label_skew(clusters, self.sizes(len(samples), clients, rng), self.alpha, rng)

    def words(self) -> str:
        return f"{self.clusters} k-means clusters skewed by Dirichlet({self.alpha:g} p), {self.size_words()}"


class DirichletSize(Partitioner):
    alpha: float = Field(gt=0, le=1e6)
    minimum: int = Field(1, ge=1, alias="min")

    def deal(self, samples: Samples, clients: int, rng: np.random.Generator) -> np.ndarray:
        return by_size(dirichlet_sizes(len(samples), clients, rng, self.alpha, self.minimum), rng)

    def words(self) -> str:
        return f"at random, sizes by Dirichlet({self.alpha:g})"


class PowerLaw(Partitioner):
    exponent: float = Field(1.0, ge=0, le=20)
    minimum: int = Field(1, ge=1, alias="min")

    def deal(self, samples: Samples, clients: int, rng: np.random.Generator) -> np.ndarray:
        return by_size(power_law_sizes(len(samples), clients, rng, self.exponent, self.minimum), rng)

    def words(self) -> str:
        return f"at random, sizes by rank^-{self.exponent:g}"


class Shards(Partitioner):
    classes: int = Field(2, ge=1)
    spread: float = Field(0.0, ge=0, le=1e3)

    def deal(self, samples: Samples, clients: int, rng: np.random.Generator) -> np.ndarray:
        return few_classes(samples.labels, clients, self.classes, rng, self.spread)

    def words(self) -> str:
        spread = f", sizes spread by {self.spread:g} of their mean" if self.spread else ""
        return f"{self.classes} labels a client{spread}"


PARTITIONERS: dict[str, type[Partitioner]] = {
    "natural": Natural,
    "iid": Iid,
    "dirichlet": Dirichlet,
    "dirichlet-size": DirichletSize,
    "powerlaw": PowerLaw,
    "shards": Shards,
    "kmeans": KMeans,
}


def partitioner(spec: str) -> Partitioner:
    """Read `dirichlet:alpha=0.3,spread=0.6`; a UsageError names an unknown name, option or value."""
    name, options = parse_spec(spec)
    if name not in PARTITIONERS:
        raise UsageError(f"unknown partition '{name}'{nearest(name, PARTITIONERS)}")
    kind = PARTITIONERS[name]
    known = {info.alias or key: info for key, info in kind.model_fields.items()}
    for key in options:
        if key not in known:
            raise UsageError(f"partition '{spec}': unknown key '{key}'{nearest(key, known)}")
    for key, info in known.items():
        if info.is_required() and key not in options:
            raise UsageError(f"partition '{spec}': {key} is missing; for example {name}:{key}=0.3")
    return validate(kind, options, f"partition '{spec}'")


def canonical(spec: str) -> str:
    """The one way to write a partition: options that have their default left out, the others by name."""
    options = partitioner(spec).model_dump(by_alias=True, exclude_defaults=True)
    short = {
        key: int(value) if value == int(value) else value for key, value in options.items()
    }  # 2, not 2.0
    return format_spec(parse_spec(spec)[0], short)
