"""The two-level Gaussian model's formulas, as plain tensor maths (ActPerFL, FL4NLP 2022, section 3).

theta_m ~ N(theta_0, s0), z_m ~ N(theta_m, s_m). s0 is the inter-client uncertainty, s_m client m's intra-client
uncertainty, w_m = 1/(s0 + s_m) the precision of client m's model as a witness of theta_0. All scalars are float64.
"""

from __future__ import annotations

import torch
from torch import Tensor

TINY = 1e-30  # stands for a variance of zero, so that s0 = s_m = 0 gives equal weights instead of inf/inf


def precision(s0: Tensor, s: Tensor) -> Tensor:
    """w_m = 1/(s0 + s_m): [C]."""
    return 1 / (s0 + s).clamp_min(TINY)


def global_optimum(local: Tensor, s0: Tensor, s: Tensor) -> Tensor:
    """Eqn 1: theta_G = sum(w_m theta_m^L) / S, from local optima [M, d] → [d]."""
    w = precision(s0, s)
    return (w[:, None] * local).sum(0) / w.sum()


def federated_optimum(local: Tensor, s0: Tensor, s: Tensor) -> Tensor:
    """Eqn 2, FL-optimal: (theta_m^L/s_m + sum_{k≠m} w_k theta_k^L) / (1/s_m + A_m) for every m: [M, d]."""
    w = precision(s0, s)[:, None]
    own = (1 / s.clamp_min(TINY))[:, None]
    others = (w * local).sum(0) - w * local
    return (own * local + others) / (own + w.sum() - w)


def posterior_mean(local: Tensor, s0: Tensor, s: Tensor) -> Tensor:
    """E[theta_m | all clients] with a flat prior on theta_0: (theta_m^L/s_m + theta_G/s0)/(1/s_m + 1/s0): [M, d].

    Our derivation; Eqn 2 takes the other clients as witnesses of theta_m instead of theta_0.
    """
    keep = (s / (s0 + s).clamp_min(TINY))[:, None]  # weight of theta_G, finite at s0 = 0 and at s0 = s_m = 0
    return (1 - keep) * local + keep * global_optimum(local, s0, s)


def start_weight(s: Tensor, others: Tensor) -> Tensor:
    """gamma_m = A_m/(1/s_m + A_m), what local training must leave of the start (right side of Eqn 7): [C]."""
    product = others * s
    return product / (1 + product)


def log_shrinkage(s: Tensor, others: Tensor) -> Tensor:
    """-ln gamma_m = ln(1 + 1/(A_m s_m)), finite where A_m s_m is 0 (27.6 at most): [C]."""
    return torch.log1p(1 / (others * s).clamp_min(1e-12))


def extrapolate(theta: Tensor, own: Tensor, ratio: Tensor) -> Tensor:
    """Eqns 6, 8, 9: theta - ratio_m (theta_m - theta); theta [P], own [C, P], ratio [C] → [C, P].

    With ratio p_m/(1 - p_m), p_m the share that client m had in theta, it is the mean of the others exactly.
    """
    return theta - ratio.to(own.dtype)[:, None] * (own - theta)


def shrinkage_variance(s0: Tensor, s: Tensor) -> Tensor:
    """Posterior variance of theta_m around its mean, s0 s_m/(s0 + s_m): what Eqn 12 loses to shrinkage [C]."""
    return s0 * s * precision(s0, s)
