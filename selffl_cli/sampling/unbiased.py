"""The aggregation that is right on average, whoever is drawn."""

from __future__ import annotations

from torch import Tensor

from ..engine.cohort import Aggregation, Cohort, Weighting, average_weights


class Unbiased(Aggregation):
    """theta + sum_k a_k r_k (theta_k - theta): on average over the draws, the mean over *all* clients.

    a_k is the client's share in that mean, n_k/n or 1/M; r_k how often it was drawn over how often one expects it to
    be (1/(K p_k) a draw of K with replacement, 1/q under Poisson sampling). The weights of one round do not sum to 1,
    so changes are weighed and not models.
    """

    def __init__(self, ratio: Tensor, samples: int, clients: int) -> None:
        """ratio: r_k by client id [M], 0 for clients not drawn; samples n and clients M of all that may be drawn."""
        self.ratio, self.totals = ratio, {"samples": float(samples), "equal": float(clients)}

    def __call__(self, cohort: Cohort, theta: Tensor, end: Tensor, weighting: Weighting) -> Tensor:
        weights = average_weights(weighting, cohort) / self.totals[weighting]
        return theta + cohort.sum(end - theta, weights * self.ratio[cohort.clients].to(weights))
