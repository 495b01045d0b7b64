"""Ditto (Li et al. 2021): a personal model beside the federated one, regularised towards it."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ..engine.cohort import Cohort, Grad, State
from .base import Federated, Weighted


class Options(Weighted):
    lam: float = Field(1.0, ge=0, description="pull of v to the received global model; tune 0.1, 1, 2")


class Ditto(Federated[Options]):
    idea = "FedAvg; beside it each client trains a personal model on F_m(v) + lam/2 ‖v - theta‖²"
    paper = "Li et al., ICML 2021"
    per_client = "its personal model v_m"
    carries = True
    options_type = Options
    averages = True
    gradients_per_step = 2

    def round(self, state: State, cohort: Cohort) -> State:
        theta, lam, eta = state.server["theta"], self.options.lam, cohort.learning_rate

        def step(models: tuple[Tensor, Tensor], grad: Grad, theta: Tensor) -> tuple[Tensor, Tensor]:
            w, v = models  # both see the same batch; the anchor is the theta that was received
            return w - eta * grad(w), v - eta * (grad(v) + lam * (v - theta))

        received = cohort.spread(theta)
        v = state.clients.read("theta", cohort.clients)
        w, v = cohort.local(step, (received, v), cohort.budget, (received,)).end
        state.clients.write("theta", cohort.clients, v)
        cohort.reveal_clients(steps=cohort.budget)
        theta = cohort.average(theta, w, self.options.weighting)
        return State({"theta": theta}, state.clients)

    def deliver(self, state: State, cohort: Cohort) -> Tensor:
        lam, eta = self.options.lam, cohort.learning_rate

        def step(v: Tensor, grad: Grad, theta: Tensor) -> Tensor:
            return v - eta * (grad(v) + lam * (v - theta))

        anchor = cohort.spread(state.server["theta"])
        rows, v = cohort.deliver(step, cohort.own("theta"), cohort.budget, (anchor,))
        cohort.delivery.rows["theta"] = v
        return rows
