"""FedAvg, then fine-tuning: the control that any way of personalising must beat."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from ..engine.cohort import Cohort, Grad, State, Step
from ..engine.store import ClientStore
from .base import Federated, StepCount, Weighted, step_count


class Options(Weighted):
    steps: StepCount = Field("budget", description="local steps that make a personal model")


class FedAvgFT(Federated[Options]):
    idea = "FedAvg; each personal model is the global one after local steps"
    paper = "control: FedAvg (McMahan et al., AISTATS 2017) with fine-tuning"
    per_client = "nothing; personal models are made from the global one when asked for"
    options_type = Options
    averages = True
    trains_when_scored = True

    def init(self, theta: Tensor, clients: ClientStore) -> State:
        return State({"theta": theta.clone()}, clients)

    def round(self, state: State, cohort: Cohort) -> State:
        end = cohort.local(cohort.sgd, cohort.spread(state.server["theta"]), cohort.budget).end
        cohort.reveal_clients(steps=cohort.budget)
        theta = cohort.average(state.server["theta"], end, self.options.weighting)
        return State({"theta": theta}, state.clients)

    def personal(self, state: State, cohort: Cohort) -> Tensor:
        start = cohort.spread(state.server["theta"])
        return cohort.local(self.tune(cohort), start, step_count(self.options.steps, cohort)).end

    def deliver(self, state: State, cohort: Cohort) -> Tensor:
        start = cohort.spread(state.server["theta"])
        return cohort.deliver(self.tune(cohort), start, step_count(self.options.steps, cohort))[0]

    def tune(self, cohort: Cohort) -> Step:
        """SGD on batches of its own."""
        eta = cohort.learning_rate

        def tune(w: Tensor, grad: Grad) -> Tensor:
            return w - eta * grad(w, "fine-tune")

        return tune
