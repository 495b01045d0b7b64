"""Closed forms on the two-level Gaussian with its true variances: what a perfect estimator would answer."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from ..config.validation import Strict
from ..engine.cohort import Cohort, State
from ..engine.store import ClientStore
from ..errors import UsageError
from .base import Federated, last_personal
from .hierarchy import TINY, federated_optimum, global_optimum, posterior_mean, precision


class Options(Strict):
    form: Literal["eqn2", "posterior"] = Field("posterior", description="FL-optimal (Eqn 2), or hierarchical posterior")


class Oracle(Federated[Options]):
    idea = "closed forms on the two-level Gaussian: Eqn 2, or the hierarchical posterior mean"
    paper = "ActPerFL, Eqns 1 and 2; the posterior is ours"
    per_client = "its closed-form estimate"
    options_type = Options

    def init(self, theta: Tensor, clients: ClientStore) -> State:
        state = super().init(theta, clients)
        state.server["total"] = torch.tensor(torch.nan, dtype=torch.float64, device=theta.device)  # S
        return state

    def round(self, state: State, cohort: Cohort) -> State:
        if cohort.truth is None:
            raise UsageError("oracle: needs known variances; train it on data made by `selffl prepare gaussian`")
        s = cohort.truth.intra_variance[cohort.clients]
        # the loss is quadratic, sum_i (theta - z_i)²/(2 s_m): its optimum is one Newton step away
        count = cohort.samples.double()
        gradient = cohort.grad(cohort.spread(state.server["theta"])).double()
        local = cohort.gather(state.server["theta"].double() - (s / count)[:, None] * gradient)
        s, s0 = cohort.gather(s / count), torch.tensor(cohort.truth.inter_variance, dtype=torch.float64)
        form = federated_optimum if self.options.form == "eqn2" else posterior_mean
        everyone = form(local, s0, s).to(state.server["theta"].dtype)
        state.clients.write("theta", cohort.everyone, everyone)
        total = precision(s0, s).sum()
        return State({"theta": global_optimum(local, s0, s).to(everyone.dtype), "total": total}, state.clients)

    def deliver(self, state: State, cohort: Cohort) -> Tensor:
        """The closed form again, from theta_G and S: a client that was not among those of theta_G is beside them."""
        if cohort.truth is None:
            return last_personal(state, cohort)
        theta, count = state.server["theta"].double(), cohort.samples.double()
        s = cohort.truth.intra_variance[cohort.clients]
        local = theta - (s / count)[:, None] * cohort.grad(cohort.spread(state.server["theta"])).double()
        s, s0 = (s / count)[:, None], cohort.truth.inter_variance
        if self.options.form == "posterior":
            keep = s / (s0 + s).clamp_min(TINY)
            return ((1 - keep) * local + keep * theta).to(state.server["theta"].dtype)
        total = state.server["total"]
        w = torch.where(state.clients.has("theta", cohort.clients)[:, None], precision(torch.as_tensor(s0), s), 0.0)
        own = 1 / s.clamp_min(TINY)
        return ((own * local + total * theta - w * local) / (own + total - w)).to(state.server["theta"].dtype)

    def personal(self, state: State, cohort: Cohort) -> Tensor:
        return state.clients.read("theta", cohort.clients)
