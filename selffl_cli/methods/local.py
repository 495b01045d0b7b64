"""Local training: every client alone, in the rounds in which it is sampled. What federation must beat."""

from __future__ import annotations

from torch import Tensor

from ..engine.cohort import Cohort, State
from ..engine.store import ClientStore
from .base import Method, Options


class Local(Method[Options]):
    idea = "each client trains alone; nothing is sent"
    paper = "lower bound of ActPerFL's question Q1"
    per_client = "its model"
    carries = True
    has_global = False
    sends = False
    gradients_per_step = 1

    def init(self, theta: Tensor, clients: ClientStore) -> State:
        clients.add("theta", theta)
        return State({}, clients)

    def round(self, state: State, cohort: Cohort) -> State:
        start = state.clients.read("theta", cohort.clients)
        state.clients.write("theta", cohort.clients, cohort.local(cohort.sgd, start, cohort.budget).end)
        cohort.reveal_clients(steps=cohort.budget)
        return state

    def deliver(self, state: State, cohort: Cohort) -> Tensor:
        rows, end = cohort.deliver(cohort.sgd, cohort.own("theta"), cohort.budget)
        cohort.delivery.rows["theta"] = end
        return rows

    def personal(self, state: State, cohort: Cohort) -> Tensor:
        return state.clients.read("theta", cohort.clients)

    def global_(self, state: State) -> None:
        return None

    def traffic(self, size: int, head: int) -> tuple[int, int]:
        return 0, 0
