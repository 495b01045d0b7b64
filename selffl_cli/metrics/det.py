"""Wake words by their two errors: the trade-off, and relative false accepts at equal false rejects.

FR(tau) is the share of wake words scored below the threshold tau, FA(tau) that of the others scored at or
above it. The papers compare a model X with a baseline on each kind of device: the baseline's threshold is
fixed on validation data, X's own is moved until X rejects as many of the device's wake words, and what is
reported is FA_X/FA_base there ("relative FA at relative FR = 1", ActPerFL, section 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Curve:
    """FA as a function of FR: `fr` [k] ascending from 0 to 1, `fa` [k] falling to 0 at FR = 1.

    Between two positives FR is flat while FA falls with the threshold: the lower FA counts.
    """

    fr: np.ndarray
    fa: np.ndarray
    positives: int
    negatives: int

    def fa_at(self, fr: float) -> float:
        """FA at this FR, linear between the two thresholds that bracket it."""
        return float(np.interp(fr, self.fr, self.fa))

    def fr_at(self, fa: float) -> float:
        """The lowest FR at which FA is not above `fa`, by the same line."""
        after = int(np.argmax(self.fa <= fa))
        if after == 0:
            return float(self.fr[0])
        high, low = self.fa[after - 1], self.fa[after]
        share = (high - fa) / (high - low)
        return float(self.fr[after - 1] + share * (self.fr[after] - self.fr[after - 1]))

    @property
    def equal_error_rate(self) -> float:
        """Where FR = FA, by the same line."""
        gap = self.fa - self.fr
        after = int(np.argmax(gap <= 0))
        if after == 0:
            return float(self.fr[0])
        share = gap[after - 1] / (gap[after - 1] - gap[after])
        return float(self.fr[after - 1] + share * (self.fr[after] - self.fr[after - 1]))


def curve(labels: np.ndarray, scores: np.ndarray) -> Curve:
    """From labels [n] (1 wake word, 0 other) and scores [n] (higher: more like it).

    ValueError when one of the two kinds is missing, or a score is NaN.
    """
    from sklearn.metrics import det_curve

    labels, scores = np.asarray(labels), np.asarray(scores, dtype=np.float64)
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    if not positives or not negatives:
        raise ValueError(f"a curve needs both kinds, here are {positives} wake words and {negatives} others")
    if np.isnan(scores).any():
        raise ValueError("a score is not a number")
    fa, fr, _ = det_curve(labels, scores)
    # beyond the last threshold nothing is accepted; scikit-learn leaves this point out when FA is 0 before
    fa, fr = np.append(fa, 0.0), np.append(fr, 1.0)
    order = np.lexsort((fa, fr))
    fr, first = np.unique(fr[order], return_index=True)
    return Curve(fr, fa[order][first], positives, negatives)


def false_rejects(labels: np.ndarray, scores: np.ndarray, threshold: float) -> float:
    """FR at a threshold."""
    wake = np.asarray(scores)[np.asarray(labels) == 1]
    return float((wake < threshold).sum() / len(wake))


def threshold_near(labels: np.ndarray, scores: np.ndarray, fr: float) -> float:
    """The threshold, among the wake words' own scores, whose FR is nearest to `fr` (the lower of two)."""
    wake = np.sort(np.asarray(scores, dtype=np.float64)[np.asarray(labels) == 1])
    candidates = np.unique(wake)
    rates = np.searchsorted(wake, candidates, side="left") / len(wake)
    return float(candidates[np.argmin(np.abs(rates - fr))])


@dataclass(frozen=True)
class Relative:
    """False accepts of a model and of the baseline where both reject `rejected` of the wake words.

    Counts of false accepts may be fractions, as they lie on a line between two thresholds.
    """

    accepts: float
    baseline: float
    rejected: float
    positives: int
    negatives: int

    @property
    def ratio(self) -> float | None:
        """Relative FA at relative FR = 1; None, withheld, when the baseline falsely accepts or rejects nothing.

        Without a rejected wake word the relative FR is 0/0, and the place at which to compare is not defined.
        """
        return self.accepts / self.baseline if self.baseline > 0 and self.rejected > 0 else None


def relative(labels: np.ndarray, baseline: np.ndarray, scores: np.ndarray, threshold: float) -> Relative:
    """Relative FA at relative FR = 1 on the test clips of one device; `threshold` is the baseline's.

    One function of FR serves both models, so the baseline's ratio to itself is 1. Without wake words or
    without others, the counts are 0 and the ratio is withheld.
    """
    labels = np.asarray(labels)
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    if not positives or not negatives:
        return Relative(0.0, 0.0, 0.0, positives, negatives)
    fr = false_rejects(labels, baseline, threshold)
    accepts, own = (curve(labels, s).fa_at(fr) * negatives for s in (scores, baseline))
    return Relative(accepts, own, fr * positives, positives, negatives)
