"""How clients deal their training samples into folds, and which walks evidence is read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..draws import generator

HeldOut = Literal["held-out", "all"]


class Folds:
    """Each client's training samples in at most `count` folds, dealt by the seed and the client alone.

    A client with fewer samples has fewer folds; one with a single sample has none, since nothing would be left.
    """

    def __init__(self, seed: int, sizes: np.ndarray, count: int) -> None:
        """sizes: training samples of every client [M]."""
        self.seed, self.sizes, self.count = seed, sizes, count
        self.known: dict[int, list[np.ndarray]] = {}

    def dealt(self, client: int) -> list[np.ndarray]:
        """Positions of the client's samples in each fold, in the order in which they were dealt."""
        if client not in self.known:
            size = int(self.sizes[client])
            count = min(self.count, size) if size > 1 else 0
            order = generator(self.seed, "folds", client).permutation(size)
            self.known[client] = [order[fold::count] for fold in range(count)]
        return self.known[client]

    def fold(self, client: int, fold: int, half: int | None = None) -> np.ndarray:
        """Positions of a fold, or of every other sample of it from number `half` on; none where there is no such."""
        folds = self.dealt(client)
        if fold >= len(folds):
            return np.zeros(0, np.int64)
        return folds[fold] if half is None else folds[fold][half::2]

    def rest(self, client: int, out: tuple[int, ...]) -> np.ndarray:
        """Positions of all samples but those of the folds `out`, ascending."""
        left = np.ones(int(self.sizes[client]), bool)
        for fold in out:
            left[self.fold(client, fold)] = False
        return np.flatnonzero(left)


@dataclass(frozen=True)
class Reading:
    """Samples that a walk is scored on: a fold that it left out, or half of it."""

    walk: int
    fold: int
    half: int | None = None


@dataclass(frozen=True)
class Plan:
    """The walks of a client, what each is scored on, and how the form of the choice is examined."""

    walks: tuple[tuple[int, ...], ...]  # the folds that each leaves out
    readings: tuple[Reading, ...]
    read: tuple[int, ...]  # the readings whose sum is the evidence
    trials: tuple[tuple[tuple[int, ...], int], ...]  # readings to choose from, and the one that is scored


def plan(evidence_base: HeldOut, folds: int, nested: bool) -> Plan:
    """Which walks are made.

    "held-out": fold 0 took no part in the base's training; one walk on the rest is scored on its two halves, and a form
    that is chosen on one half is examined on the other. "all": a walk for each fold; with `nested` one more for each
    pair, so that what is chosen for fold f comes from walks that saw neither f nor the fold they are scored on.
    """
    if evidence_base == "held-out":
        return Plan(((0,),), (Reading(0, 0, 0), Reading(0, 0, 1)), (0, 1), (((0,), 1), ((1,), 0)))
    walks: list[tuple[int, ...]] = [(fold,) for fold in range(folds)]
    readings = [Reading(fold, fold) for fold in range(folds)]
    seen: dict[tuple[int, int], int] = {}  # (scored, left out beside it) → its reading
    if nested:
        for one in range(folds):
            for other in range(one + 1, folds):
                for scored_, beside in ((one, other), (other, one)):
                    seen[scored_, beside] = len(readings)
                    readings.append(Reading(len(walks), scored_))
                walks.append((one, other))
    trials = [(tuple(seen[g, f] for g in range(folds) if g != f), f) for f in range(folds)] if nested else []
    return Plan(tuple(walks), tuple(readings), tuple(range(folds)), tuple(trials))
