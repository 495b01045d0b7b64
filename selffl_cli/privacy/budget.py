"""The budget of a run: epsilon after each round, and the round before which it must stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..config import sampler as selection
from ..config.privacy import Sample, User, read_privacy
from ..errors import UsageError
from ..methods import method_class
from ..runs.roles import assign_roles
from ..sampling import draw
from .accountant import Events, epsilon, find_noise, last_round

if TYPE_CHECKING:
    from ..config.experiment import TrainConfig
    from ..shards import Shards


class Budget:
    """What a run spends. Everything is known before it starts, since who takes part depends on the seed alone."""

    def __init__(
        self, train: TrainConfig, method: str, seed: int, sizes: np.ndarray, noise: float | None, periods: int = 1
    ) -> None:
        """sizes: training samples of the clients that may take part [M]; noise None = to be found; periods that the
        rounds of `train` are spent in, one after another."""
        privacy = read_privacy(train.privacy)
        assert privacy is not None
        self.privacy, self.train, self.method, self.seed, self.sizes = privacy, train, method, seed, sizes
        self.asked = train.rounds * periods
        self._taken = np.zeros((0, len(sizes)), dtype=bool)
        found = noise if noise is not None else privacy.noise
        if found is None:
            assert privacy.target_epsilon is not None
            found = find_noise(lambda value: self._epsilon(self.asked, value), privacy.target_epsilon)
        self.noise = found
        self.rounds = self.asked
        if privacy.target_epsilon is not None:
            self.rounds = last_round(lambda t: self._epsilon(t, self.noise), privacy.target_epsilon, self.asked)
            if not self.rounds:
                raise UsageError(
                    f"train.privacy: with noise {self.noise:g} the first round already exceeds epsilon "
                    f"{privacy.target_epsilon:g}; raise noise or target-epsilon"
                )

    def spent(self, round_: int) -> dict[str, float]:
        """Epsilon after this round; for samples the honest one, and the nominal one that takes a clipped micro-batch
        for a clipped sample."""
        spent = {"epsilon": self._epsilon(round_, self.noise), "delta": self.privacy.delta}
        if isinstance(self.privacy, Sample):
            spent["nominal_epsilon"] = self._epsilon(round_, 2 * self.noise)
        return spent

    def _epsilon(self, round_: int, noise: float) -> float:
        privacy = self.privacy
        if isinstance(privacy, User):
            sampler = selection.sampler(self.train.sampler)
            assert isinstance(sampler, selection.Poisson)
            return epsilon(((noise, sampler.q, round_),), privacy.delta, privacy.accountant)
        return max(epsilon(events, privacy.delta, privacy.accountant) for events in self._clients(round_, noise))

    def _clients(self, round_: int, noise: float) -> set[Events]:
        """The mechanisms that the samples of a client went through, of every client that may be the worst off.

        One sample moves the mean of its micro-batch, clipped to C, by up to 2 C: half the noise multiplier counts.
        """
        assert isinstance(self.privacy, Sample)
        taken = self._participations(round_)
        batch = self.train.batch_size
        rate = np.ones(len(self.sizes)) if batch == "full" else np.minimum(1.0, int(batch) / self.sizes)
        gradients = method_class(self.method).gradients_per_step
        assert gradients is not None  # asked before the run was planned
        steps = np.array([self.train.budget(int(size)) for size in self.sizes]) * gradients
        looks = taken.sum(0) * steps
        front: list[int] = []  # nobody else is looked at as often at as high a rate
        for client in np.lexsort((-looks, -rate)):
            if not front or looks[client] > max(looks[front]):
                front.append(int(client))
        decay = self.privacy.decay
        made: set[Events] = set()
        for client in front:
            rounds = np.flatnonzero(taken[:, client]) if decay < 1 else np.zeros(int(taken[:, client].sum()))
            powers, counts = np.unique(rounds, return_counts=True)
            made.add(tuple((noise / 2 * decay ** float(p), float(rate[client]), int(c * steps[client]))
                           for p, c in zip(powers, counts, strict=True)))  # fmt: skip
        return made or {()}

    def _participations(self, round_: int) -> np.ndarray:
        """Who takes part in the rounds up to this one: bool [round_, M]."""
        size, sampler = self.train.cohort_size(len(self.sizes)), selection.sampler(self.train.sampler)
        replace = self.train.weighting == "unbiased"
        for number in range(len(self._taken) + 1, round_ + 1):
            row = np.zeros((1, len(self.sizes)), dtype=bool)
            row[0, draw.choose(sampler, self.seed, number, self.sizes, size, replace).positions] = True
            self._taken = np.concatenate([self._taken, row])
        return self._taken[:round_]


def budget_of(train: TrainConfig, method: str, seed: int, shards: Shards, noise: float | None) -> Budget:
    """The budget of a run on these shards; noise None = what the options say, or found for their target."""
    sizes = shards.clients["n_train"].to_numpy()
    periods = shards.periods if train.periods else 1
    pool = assign_roles(seed, sizes, train.new_clients, train.eval_clients).pool
    return Budget(train, method, seed, sizes[pool], noise, periods)
