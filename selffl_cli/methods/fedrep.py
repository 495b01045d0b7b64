"""FedRep (Collins et al. 2021): a body learnt together under a head of each client's own."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..engine.cohort import Cohort, Grad, State, Step
from .base import Federated, StepCount, Weighted, last_personal, step_count


class Options(Weighted):
    head_steps: StepCount = Field("budget", description="steps on the head, the body frozen")
    body_steps: StepCount = Field("budget", description="then steps on the body, the head frozen")


class FedRep(Federated[Options]):
    idea = "a shared body under a head of each client's own; only the body is sent"
    paper = "Collins et al., ICML 2021"
    per_client = "its model, of which the head counts"
    options_type = Options
    carries = True
    averages = True
    remarks = {
        "silent": "nothing was sent, as the whole model is the clients' head: this is training alone, and half of the "
        "gradients, those of the body, move nothing."
    }

    def round(self, state: State, cohort: Cohort) -> State:
        eta, head, theta = cohort.learning_rate, cohort.head, state.server["theta"]

        def body_step(w: Tensor, grad: Grad) -> Tensor:
            return torch.where(head, w, w - eta * grad(w))

        head_steps, body_steps = (
            step_count(wanted, cohort) for wanted in (self.options.head_steps, self.options.body_steps)
        )
        start = torch.where(head, state.clients.read("theta", cohort.clients), theta)
        end = cohort.local(body_step, cohort.local(self.head_step(cohort), start, head_steps).end, body_steps).end
        state.clients.write("theta", cohort.clients, end)
        cohort.reveal_clients(steps=head_steps + body_steps)
        # the mean of the heads only completes a global model to be judged; of clients, those held out of training alone
        # start from it, when they are judged at the end
        theta = cohort.average(theta, end, self.options.weighting)
        return State({"theta": theta}, state.clients)

    def head_step(self, cohort: Cohort) -> Step:
        """SGD on the head alone."""
        eta, head = cohort.learning_rate, cohort.head

        def head_step(w: Tensor, grad: Grad) -> Tensor:
            return torch.where(head, w - eta * grad(w, "fedrep-head"), w)

        return head_step

    def deliver(self, state: State, cohort: Cohort) -> Tensor:
        head, theta = cohort.head, state.server["theta"]
        own = cohort.delivery.rows.get("theta")
        start = torch.where(head, last_personal(state, cohort) if own is None else own, theta)
        steps = step_count(self.options.head_steps, cohort)
        rows, end = cohort.deliver(self.head_step(cohort), start, steps)
        cohort.delivery.rows["theta"] = end
        return rows

    def personal(self, state: State, cohort: Cohort) -> Tensor:
        return torch.where(cohort.head, last_personal(state, cohort), state.server["theta"])

    def traffic(self, size: int, head: int) -> tuple[int, int]:
        return size - head, size - head
