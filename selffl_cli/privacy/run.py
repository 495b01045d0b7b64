"""Privacy inside one training: what the engine and the server do differently, and what it has cost so far."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..config import sampler as selection
from ..config.privacy import Sample, User
from .budget import Budget
from .sample import PrivateGradient
from .user import PrivateAverage, canary_cosines, split_noise

if TYPE_CHECKING:
    from ..config.run import RunConfig
    from ..engine.cohort import Cohort, State


class PrivateRun:
    """The privacy of a run; its clip stands in the server's state, so that a resumed run goes on with it."""

    def __init__(self, config: RunConfig, sizes: np.ndarray, start: Tensor | None, periods: int = 1) -> None:
        """sizes: training samples of the clients that may take part [M]; start: the global model to begin with [P]."""
        self.config, self.clients = config, len(sizes)
        self.start = None if start is None else start.clone()
        self.budget = Budget(config.train, config.method["name"], config.seed, sizes, config.noise, periods)
        self.due = 0.0  # when `in_passing` may account again
        self.options, self.noise = self.budget.privacy, self.budget.noise
        sampler = selection.sampler(config.train.sampler)
        self.q = sampler.q if isinstance(sampler, selection.Poisson) else 1.0
        if isinstance(self.options, User):
            split_noise(self.options, self.noise, self.q * self.clients)  # refuses what cannot be

    @property
    def of_users(self) -> bool:
        """Whether the server adds noise, in rounds without clients too: their number is private as well."""
        return isinstance(self.options, User)

    def prepare(self, cohort: Cohort, state: State) -> None:
        """Make a round's cohort private."""
        if isinstance(self.options, User):
            clip = float(state.server.get("clip", torch.tensor(self.options.clip, dtype=torch.float64)))
            cohort.aggregation = PrivateAverage(self.options, self.noise, self.q, self.clients, self.config.seed, clip)

    def finish(self, cohort: Cohort, state: State) -> None:
        """Keep the clip of the next round."""
        if isinstance(cohort.aggregation, PrivateAverage):
            state.server["clip"] = torch.tensor(cohort.aggregation.next_clip, dtype=torch.float64)

    def gradient(self, round_: int, batch_size: int | None) -> PrivateGradient | None:
        """What takes the place of plain gradients in this round."""
        if not isinstance(self.options, Sample):
            return None
        return PrivateGradient(self.options, self.noise, self.config.seed, round_, batch_size)

    def spent(self, round_: int) -> dict[str, float | None]:
        """Epsilon so far, None where it is infinite."""
        return {key: value if np.isfinite(value) else None for key, value in self.budget.spent(round_).items()}

    def in_passing(self, round_: int) -> dict[str, float | None] | None:
        """Epsilon so far for the display; None where working it out again would take more than 2 % of the time."""
        begun = time.perf_counter()
        if begun < self.due:
            return None
        spent = self.spent(round_)
        now = time.perf_counter()
        self.due = now + 50 * (now - begun)
        return spent

    def result(self, round_: int, theta: Tensor | None) -> dict[str, Any]:
        """What result.json says of privacy."""
        unit = "user" if self.of_users else "sample"
        said: dict[str, Any] = {"unit": unit, "noise": self.noise, **self.spent(round_)}
        if self.options.target_epsilon is not None:
            said["target_epsilon"] = self.options.target_epsilon
        if round_ < self.budget.asked and round_ == self.budget.rounds:
            said["stopped"] = f"before round {round_ + 1}, which would exceed epsilon {said['target_epsilon']:g}"
        if isinstance(self.options, User) and self.options.canaries and theta is not None and self.start is not None:
            said["canaries"] = canary_cosines(self.config.seed, self.options.canaries, theta - self.start)
            said["dimension"] = theta.numel()
        return said
