"""FedAvg (McMahan et al. 2017): average what the clients' local SGD made of the global model."""

from __future__ import annotations

from torch import Tensor

from ..engine.cohort import Cohort, State
from .base import Federated, Weighted


class FedAvg(Federated[Weighted]):
    idea = "average the clients' models after local SGD from the global one"
    paper = "McMahan et al., AISTATS 2017"
    per_client = "its model after its last local training (evaluation only)"
    options_type = Weighted
    averages = True
    gradients_per_step = 1

    def round(self, state: State, cohort: Cohort) -> State:
        start = cohort.spread(state.server["theta"])
        end = cohort.local(cohort.sgd, start, cohort.budget).end
        theta = cohort.average(state.server["theta"], end, self.options.weighting)
        state.clients.write("theta", cohort.clients, end)
        cohort.reveal_clients(steps=cohort.budget)
        return State({"theta": theta}, state.clients)

    def deliver(self, state: State, cohort: Cohort) -> Tensor:
        return cohort.deliver(cohort.sgd, cohort.spread(state.server["theta"]), cohort.budget)[0]
