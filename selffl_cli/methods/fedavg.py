"""FedAvg (McMahan et al. 2017): average what the clients' local SGD made of the global model."""

from __future__ import annotations

from torch import Tensor

from ..engine.cohort import Cohort, State
from ..engine.store import ClientStore
from .base import Method, Weighted, average_weights, last_personal


class FedAvg(Method):
    idea = "average the clients' models after local SGD from the global one"
    paper = "McMahan et al., AISTATS 2017"
    per_client = "its model after its last local training (evaluation only)"
    options_type = Weighted

    def __init__(self, options: Weighted) -> None:
        self.options = options

    def init(self, theta: Tensor, clients: ClientStore) -> State:
        clients.add("theta", theta)
        return State({"theta": theta.clone()}, clients)

    def round(self, state: State, cohort: Cohort) -> State:
        start = cohort.spread(state.server["theta"])
        end = cohort.local(cohort.sgd, start, cohort.budget).end
        theta = cohort.mean(end, average_weights(self.options.weighting, cohort))
        state.clients.write("theta", cohort.clients, end)
        cohort.reveal_clients(steps=cohort.budget)
        return State({"theta": theta}, state.clients)

    def personal(self, state: State, cohort: Cohort) -> Tensor:
        return last_personal(state, cohort)

    def global_(self, state: State) -> Tensor:
        return state.server["theta"]
