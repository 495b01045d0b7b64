"""Intervals of relative false accepts, by drawing speakers anew: clips of one speaker are alike, so they come
and go together.

A draw gives every speaker a weight, how often it was drawn. Weighted counts at every threshold are one matrix
product, so thousands of draws take seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

BLOCK_OF_DRAWS = 1 << 24  # numbers in one block of draws


def draws(speakers: int, resamples: int, seed: int = 0) -> np.ndarray:
    """How often each speaker is drawn in each of the resamples: float64 [resamples, speakers]."""
    rng = np.random.default_rng([seed, speakers])
    return rng.multinomial(speakers, np.full(speakers, 1 / speakers), size=resamples).astype(np.float64)


@dataclass(frozen=True)
class Tally:
    """Per-speaker counts at a model's thresholds (its wake words' scores): `below` [S, J] wake words below
    each, `above` [S, J] others at or above it; `wake` [S] wake words in all.
    """

    below: np.ndarray
    above: np.ndarray
    wake: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, scores: np.ndarray, speaker: np.ndarray, speakers: int) -> Tally:
        """labels, scores, speaker [n]; speaker in 0…speakers - 1."""
        positive = labels == 1
        thresholds = np.unique(scores[positive])
        size = len(thresholds)
        # a wake word is below every threshold after its own; another is at or above all up to its own score
        first = np.searchsorted(thresholds, scores[positive], side="right")
        last = np.searchsorted(thresholds, scores[~positive], side="right")
        below = np.zeros((speakers, size + 1))
        np.add.at(below, (speaker[positive], first), 1)
        above = np.zeros((speakers, size + 1))
        np.add.at(above, (speaker[~positive], last), 1)
        wake = np.bincount(speaker[positive], minlength=speakers).astype(np.float64)
        # counts of others with at least j + 1 thresholds at or below their score
        return cls(below.cumsum(axis=1)[:, :size], above[:, ::-1].cumsum(axis=1)[:, ::-1][:, 1:], wake)

    def accepts_at(self, weights: np.ndarray, rejected: np.ndarray) -> np.ndarray:
        """False accepts [B] of each draw [B, S] at weighted counts `rejected` [B] of wake words rejected.

        As `det.Curve.fa_at`: at a flat of FR the lower FA, between two FRs a line; in counts, which are whole
        numbers and can be compared exactly. NaN in draws without a wake word.
        """
        step = max(BLOCK_OF_DRAWS // (self.below.shape[1] + 1), 1)
        pieces = [
            self._accepts(weights[first : first + step], rejected[first : first + step])
            for first in range(0, len(weights), step)
        ]
        return np.concatenate(pieces) if pieces else np.zeros(0)

    def _accepts(self, weights: np.ndarray, rejected: np.ndarray) -> np.ndarray:
        # the last column: a threshold above everything
        fr = np.column_stack([weights @ self.below, weights @ self.wake])
        fa = np.column_stack([weights @ self.above, np.zeros(len(weights))])
        rows, wanted = np.arange(len(weights)), rejected[:, None]
        low = (fr <= wanted).sum(axis=1) - 1
        following = fr[rows, np.minimum(low + 1, fr.shape[1] - 1)]
        high = (fr <= following[:, None]).sum(axis=1) - 1  # the end of that flat
        gap = following - fr[rows, low]
        share = np.where(gap > 0, (rejected - fr[rows, low]) / np.where(gap > 0, gap, 1), 0.0)
        found = fa[rows, low] + share * (fa[rows, high] - fa[rows, low])
        return np.where(fr[:, -1] > 0, found, np.nan)


def rejected(
    labels: np.ndarray, baseline: np.ndarray, threshold: float, speaker: np.ndarray, weights: np.ndarray
) -> np.ndarray:
    """Weighted count [B] of wake words that the baseline rejects in each draw [B, S]."""
    missed = speaker[(labels == 1) & (baseline < threshold)]
    return weights @ np.bincount(missed, minlength=weights.shape[1])


def accepts(
    labels: np.ndarray, baseline: np.ndarray, scores: np.ndarray, threshold: float, speaker: np.ndarray,
    weights: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """False accepts [B] of a model and of the baseline at the baseline's false rejects, in each draw [B, S].

    NaN in draws without a wake word.
    """
    labels, speakers = np.asarray(labels), weights.shape[1]
    count = rejected(labels, baseline, threshold, speaker, weights)
    own, theirs = (
        Tally.of(labels, np.asarray(s, dtype=np.float64), speaker, speakers).accepts_at(weights, count)
        for s in (scores, baseline)
    )
    return own, theirs


def interval(own: np.ndarray, theirs: np.ndarray, level: float = 0.95) -> tuple[float, float] | None:
    """Percentiles of the ratio over draws; infinite where a draw's baseline accepts nothing falsely.

    None, withheld, when the ratio is undefined (0/0, no wake word) in more than a twentieth of the draws.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.asarray(own) / np.asarray(theirs)
    known = ratio[~np.isnan(ratio)]
    if len(known) < max(0.95 * len(ratio), 1):
        return None
    tail = (1 - level) / 2
    low, high = np.quantile(known, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)
