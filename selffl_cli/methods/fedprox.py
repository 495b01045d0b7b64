"""FedProx (Li et al. 2020): FedAvg whose local objective holds each client near the global model."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ..engine.cohort import Cohort, Grad, State, Step
from .base import Weighted
from .fedavg import FedAvg


class Options(Weighted):
    mu: float = Field(0.01, ge=0, description="pull to the global model (authors, Sent140: 0.01)")


class FedProx(FedAvg):
    idea = "FedAvg with a proximal term: clients descend F_m(w) + mu/2 ‖w - theta‖²"
    paper = "Li et al., MLSys 2020"
    options_type = Options
    averages = True
    gradients_per_step = 1

    def __init__(self, options: Options) -> None:
        self.options: Options = options

    def round(self, state: State, cohort: Cohort) -> State:
        theta = state.server["theta"]
        start = cohort.spread(theta)
        end = cohort.local(self.step(cohort), start, cohort.budget, (start,)).end
        state.clients.write("theta", cohort.clients, end)
        cohort.reveal_clients(steps=cohort.budget)
        theta = cohort.average(theta, end, self.options.weighting)
        return State({"theta": theta}, state.clients)

    def step(self, cohort: Cohort) -> Step:
        """SGD on F_m(w) + mu/2 ‖w - theta‖²."""
        mu, eta = self.options.mu, cohort.learning_rate

        def step(w: Tensor, grad: Grad, theta: Tensor) -> Tensor:
            return w - eta * (grad(w) + mu * (w - theta))

        return step

    def deliver(self, state: State, cohort: Cohort) -> Tensor:
        start = cohort.spread(state.server["theta"])
        return cohort.deliver(self.step(cohort), start, cohort.budget, (start,))[0]
