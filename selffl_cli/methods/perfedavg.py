"""Per-FedAvg (Fallah et al. 2020): a global model from which one step on a client's own data goes far."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from ..engine.cohort import Cohort, Grad, State, Step
from ..engine.store import ClientStore
from .base import Federated, StepCount, Weighted, Weighting, step_count


class Options(Weighted):
    weighting: Weighting = Field("equal", description="average equally (-e) or by samples (-w)")
    variant: Literal["FO", "HF"] = Field("FO", description="first-order or Hessian-free")
    alpha: float = Field(0.01, ge=0, description="adaptation rate, tuned apart from beta = learning_rate")
    delta: float = Field(1e-3, gt=0, description="finite difference of HF")
    adaptation_steps: StepCount = Field(1, description="steps of size alpha that make a personal model")


class PerFedAvg(Federated[Options]):
    idea = "MAML across clients: a global model from which a step on own data goes far"
    paper = "Fallah et al., NeurIPS 2020"
    per_client = "nothing; personal models are made from the global one when asked for"
    options_type = Options
    averages = True
    trains_when_scored = True

    def init(self, theta: Tensor, clients: ClientStore) -> State:
        return State({"theta": theta.clone()}, clients)

    def round(self, state: State, cohort: Cohort) -> State:
        alpha, beta, delta = self.options.alpha, cohort.learning_rate, self.options.delta

        def first_order(w: Tensor, grad: Grad) -> Tensor:
            u = w - alpha * grad(w, "perfedavg-inner")  # D
            return w - beta * grad(u)  # D'

        def hessian_free(w: Tensor, grad: Grad) -> Tensor:
            u = w - alpha * grad(w, "perfedavg-inner")  # D
            g = grad(u)  # D'
            ahead, behind = (grad(w + sign * delta * g, "perfedavg-hessian") for sign in (1, -1))  # D''
            return w - beta * (g - alpha * (ahead - behind) / (2 * delta))

        step = first_order if self.options.variant == "FO" else hessian_free
        end = cohort.local(step, cohort.spread(state.server["theta"]), cohort.budget).end
        cohort.reveal_clients(steps=cohort.budget)
        theta = cohort.average(state.server["theta"], end, self.options.weighting)
        return State({"theta": theta}, state.clients)

    def personal(self, state: State, cohort: Cohort) -> Tensor:
        steps = step_count(self.options.adaptation_steps, cohort)
        return cohort.local(self.adapt(), cohort.spread(state.server["theta"]), steps).end

    def deliver(self, state: State, cohort: Cohort) -> Tensor:
        steps = step_count(self.options.adaptation_steps, cohort)
        return cohort.deliver(self.adapt(), cohort.spread(state.server["theta"]), steps)[0]

    def adapt(self) -> Step:
        """The adaptation step."""
        alpha = self.options.alpha

        def adapt(w: Tensor, grad: Grad) -> Tensor:
            return w - alpha * grad(w, "perfedavg-adapt")

        return adapt
