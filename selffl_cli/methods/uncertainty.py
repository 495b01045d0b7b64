"""Estimators of the two uncertainties from what training shows (Eqns 11 and 12 and our alternatives)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..engine.cohort import Cohort, Grad, Local, State
from ..engine.store import ClientStore
from .hierarchy import shrinkage_variance

Intra = Literal["within-round", "across-rounds", "all-rounds", "fisher", "known"]
Inter = Literal["literal", "corrected", "known"]
Normaliser = Literal["count", "trace", "entry"]

FORGETTING = 0.5  # weight of the past in `across-rounds`, a round


def normalise(scatter: Tensor, count: Tensor | float, size: int, normaliser: Normaliser) -> Tensor:
    """One variance from a sum of squared distances: plain trace, by samples, or by samples and entries [C]."""
    if normaliser == "trace":
        return scatter
    return scatter / count / (size if normaliser == "entry" else 1)


def add_tables(clients: ClientStore, theta: Tensor, intra: Intra) -> None:
    """Per-client memory of the chosen estimator: constant in the number of rounds (Welford)."""
    if intra in ("across-rounds", "all-rounds"):
        clients.add("mean", theta)
        clients.add("scatter", torch.zeros((), dtype=torch.float64))
        clients.add("weight", torch.zeros((), dtype=torch.float64))


def intra_variance(
    state: State, cohort: Cohort, start: Tensor, local: Local, intra: Intra, normaliser: Normaliser, prior: float
) -> Tensor:
    """s_m of the cohort's clients after their training (Eqn 11) [C], float64."""
    size = start.shape[-1]
    if intra == "known":
        assert cohort.truth is not None
        return cohort.truth.intra_variance[cohort.clients]
    if intra == "fisher":
        return fisher_variance(cohort, local.end, prior) / (size if normaliser == "entry" else 1)
    if intra == "within-round":
        assert local.scatter is not None and local.count is not None
        return normalise(local.scatter.double(), local.count, size, normaliser)
    # end points over rounds, weighted Welford; the start of the first round counts as a sample, so that
    # one round does not give zero
    seen = state.clients.has("mean", cohort.clients)
    mean = torch.where(seen[:, None], state.clients.read("mean", cohort.clients), start)
    weight = torch.where(seen, state.clients.read("weight", cohort.clients), 1.0)
    weight = weight * (FORGETTING if intra == "across-rounds" else 1.0)
    scatter = state.clients.read("scatter", cohort.clients)
    scatter = scatter * (FORGETTING if intra == "across-rounds" else 1.0)
    delta = local.end - mean
    scatter = scatter + weight / (weight + 1) * (delta**2).sum(-1).double()
    mean = mean + delta / (weight + 1).to(delta.dtype)[:, None]
    for name, rows in (("mean", mean), ("scatter", scatter), ("weight", weight + 1)):
        state.clients.write(name, cohort.clients, rows)
    return normalise(scatter, weight + 1, size, normaliser)


def fisher_variance(cohort: Cohort, at: Tensor, prior: float) -> Tensor:
    """Laplace: sum_i 1/(n_m F_ii + prior), F the diagonal empirical Fisher over one pass of training batches [C].

    A batch of b samples has a mean gradient whose square is about F/b, so each square counts b times.
    """
    full = float(cohort.batches.batch_size or torch.inf)

    def accumulate(rows: tuple[Tensor, ...], grad: Grad, samples: Tensor) -> tuple[Tensor, ...]:
        theta, squares, seen = rows
        batch = (samples - seen).clamp_max(full)
        return theta, squares + batch * grad(theta, "fisher") ** 2, seen + batch

    samples = cohort.samples[:, None]
    rows = cohort.local(accumulate, (at, torch.zeros_like(at), torch.zeros_like(samples)), cohort.epoch, (samples,)).end
    fisher = rows[1].double() / cohort.epoch[:, None]
    return (1 / (samples.double() * fisher + prior)).sum(-1)


def inter_variance(
    cohort: Cohort, theta: Tensor, end: Tensor, s: Tensor, previous: Tensor, inter: Inter, normaliser: Normaliser
) -> Tensor:
    """s0 over the round's clients (Eqn 12), a scalar; `corrected` adds the mean shrinkage variance (an EM step).

    Measured from theta, which the models are near, so that one pass keeps its digits.
    """
    if inter == "known":
        assert cohort.truth is not None
        return torch.tensor(cohort.truth.inter_variance, dtype=torch.float64, device=end.device)
    delta = end - theta
    total, squares = cohort.sum(delta).double(), cohort.sum((delta**2).sum(-1).double())
    scatter = (squares - (total**2).sum() / cohort.size).clamp_min(0)
    s0 = normalise(scatter, cohort.size, theta.numel(), normaliser)
    if inter == "corrected":
        before = torch.where(previous.isnan(), s0, previous)
        s0 = s0 + cohort.sum(shrinkage_variance(before, s)) / cohort.size
    return s0
