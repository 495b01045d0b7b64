"""How samples are dealt to clients: one small library for all data sets.

The functions are pure: labels, sizes or features and a generator in, the client index of each sample out.
Every sample goes to exactly one client and no client stays empty. The classes below them read what a person
types, `name:option=value,…`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from pydantic import Field, model_validator

from selffl_cli.config.spec import format_spec, parse_spec
from selffl_cli.config.validation import Strict, validate
from selffl_cli.errors import UsageError, nearest
from selffl_cli.registry import Registry

from .sizes import dirichlet_sizes, power_law_sizes, spread_sizes
from .skew import few_classes, label_skew


def by_size(sizes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Samples at random to clients of these sizes: client index [sizes.sum()]."""
    return rng.permutation(np.repeat(np.arange(len(sizes)), sizes))


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
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct samples than clusters is no error here
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
    """A way to deal samples to clients; its fields are its options, as in `NAME:alpha=0.3`."""

    def deal(self, samples: Samples, clients: int, rng: np.random.Generator) -> np.ndarray:
        """Client index of each sample, from 0 to clients - 1 [n]. Whatever is drawn comes from `rng`."""
        raise NotImplementedError(f"{type(self).__name__}.deal")

    def words(self) -> str:
        """The partition in a few words, for a person."""
        return f"by {type(self).__name__}"


class Natural(Partitioner):
    def deal(self, samples: Samples, clients: int, rng: np.random.Generator) -> np.ndarray:
        if samples.natural is None:
            raise UsageError("partition 'natural': this data set has no clients of its own; choose another")
        return samples.natural

    def words(self) -> str:
        return "clients as the source has them"


class Sized(Partitioner):
    """Sizes come first: equal, spread log-normally, or by a power law (`exponent`), as FedNLP draws them."""

    spread: float = Field(0.0, ge=0, le=1e3)
    exponent: float = Field(0.0, ge=0, le=20)
    minimum: int = Field(1, ge=1, alias="min")

    @model_validator(mode="after")
    def _one_form(self) -> Sized:
        if self.spread and self.exponent:
            raise ValueError("sizes are spread or follow a power law: give spread or exponent, not both")
        return self

    def sizes(self, samples: int, clients: int, rng: np.random.Generator) -> np.ndarray:
        if self.exponent:
            return power_law_sizes(samples, clients, rng, self.exponent, self.minimum)
        return spread_sizes(samples, clients, rng, self.spread, self.minimum)

    def size_words(self) -> str:
        least = f", at least {self.minimum}" if self.minimum > 1 else ""
        if self.exponent:
            return f"sizes by rank^-{self.exponent:g}{least}"
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
    minimum: int = Field(1, ge=1, alias="min")  # of each label

    def deal(self, samples: Samples, clients: int, rng: np.random.Generator) -> np.ndarray:
        return few_classes(samples.labels, clients, self.classes, rng, self.spread, self.minimum)

    def words(self) -> str:
        least = f", at least {self.minimum} samples of each" if self.minimum > 1 else ""
        spread = f", sizes spread by {self.spread:g} of their mean" if self.spread else ""
        return f"{self.classes} labels a client{least}{spread}"


_OWN = {
    "natural": Natural,
    "iid": Iid,
    "dirichlet": Dirichlet,
    "dirichlet-size": DirichletSize,
    "powerlaw": PowerLaw,
    "shards": Shards,
    "kmeans": KMeans,
}
PARTITIONERS: Registry[Partitioner] = Registry(
    "partition",
    f"{__name__}:Partitioner",
    {name: f"{__name__}:{kind.__name__}" for name, kind in _OWN.items()},
    group="selffl.partitioners",
)


def partitioner(spec: str) -> Partitioner:
    """Read `dirichlet:alpha=0.3,spread=0.6`; a UsageError names an unknown name, option or value."""
    name, options = parse_spec(spec)
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
    short = {key: int(value) if value == int(value) else value for key, value in options.items()}  # 2, not 2.0
    return format_spec(parse_spec(spec)[0], short)
