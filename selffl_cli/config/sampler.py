"""The samplers by name, with their options."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from pydantic import Field

from ..registry import Registry
from .spec import full_spec, parse_spec, read_spec
from .validation import Strict

NEVER = 1e-12  # a chance below this is none: over 10^6 rounds of 10^3 draws it would not come up once in 1,000 runs


class Sampler(Strict):
    """Draws the clients of a round one after another, each draw with the chances p_k."""

    def weights(self, sizes: np.ndarray) -> np.ndarray:
        """Unnormalised chance of each client in one draw [M], from the training samples of each [M]."""
        return np.ones(len(sizes))

    def chances(self, sizes: np.ndarray) -> np.ndarray:
        """p_k of each client in one draw [M]; all zero when nobody can be drawn."""
        weights = self.weights(sizes)
        chances = weights / weights.sum() if weights.sum() > 0 else np.zeros(len(sizes))
        return np.where(chances < NEVER, 0.0, chances)


class Uniform(Sampler):
    """Every client alike."""


class Poisson(Sampler):
    """Every client for itself with probability q, so that a round's number of clients varies and may be zero."""

    q: float = Field(gt=0, le=1)


class Activity(Sampler):
    """p_k proportional to n_k^gamma, mixed with a share `mix` of uniform draws."""

    gamma: float = Field(1.0, ge=0, le=1000)
    mix: float = Field(0.0, ge=0, le=1)

    def weights(self, sizes: np.ndarray) -> np.ndarray:
        active = sizes > 0
        if not active.any():
            return np.zeros(len(sizes))
        logs = self.gamma * np.log(np.maximum(sizes, 1))  # a power of a large size would overflow
        powers = np.where(active, np.exp(logs - logs[active].max()), 0.0)
        return (1 - self.mix) * powers / powers.sum() + self.mix * active / active.sum()


class Log(Sampler):
    """p_k proportional to log(1 + n_k)."""

    def weights(self, sizes: np.ndarray) -> np.ndarray:
        return np.log1p(sizes)


class Top(Sampler):
    """Uniform among the share `fraction` of clients with the most samples; ties go to the lower index."""

    fraction: float = Field(gt=0, le=1)

    def weights(self, sizes: np.ndarray) -> np.ndarray:
        count = max(1, int(np.ceil(self.fraction * len(sizes) - 1e-9)))
        weights = np.zeros(len(sizes))
        weights[np.argsort(-sizes, kind="stable")[:count]] = 1.0
        return np.where(sizes > 0, weights, 0.0)


SAMPLERS: Registry[Sampler] = Registry(
    "sampler",
    "selffl_cli.config.sampler:Sampler",
    {
        "uniform": "selffl_cli.config.sampler:Uniform",
        "poisson": "selffl_cli.config.sampler:Poisson",
        "activity": "selffl_cli.config.sampler:Activity",
        "log": "selffl_cli.config.sampler:Log",
        "top": "selffl_cli.config.sampler:Top",
    },
    group="selffl.samplers",
)


def sampler(spec: str, code: Mapping[str, str] | None = None) -> Sampler:
    """Read `activity:gamma=1,mix=0.1`; a UsageError names what is wrong.

    code: {name: sha256} of a run's record, which the source of a sampler from outside must still have.
    """
    name, _ = parse_spec(spec)
    if code and name in code:
        SAMPLERS.same(name, code[name])
    return read_spec(spec, SAMPLERS, "sampler")[1]


def canonical(spec: str) -> str:
    """The spec with every default written out."""
    return full_spec(*read_spec(spec, SAMPLERS, "sampler"))
