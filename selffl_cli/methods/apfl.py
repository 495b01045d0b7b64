"""APFL (Deng et al. 2020): each client mixes a model of its own with its copy of the global one."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from ..engine.cohort import Cohort, Grad, State, Step
from ..engine.store import ClientStore
from .base import Federated, Weighted, Weighting


class Options(Weighted):
    weighting: Weighting = Field("equal", description="average equally (-e) or by samples (-w)")
    a: float = Field(0.5, ge=0, le=1, description="share of the own model v, or where it starts")
    adaptive: bool = Field(False, description="descend on a too, once a round, each client for itself")


class APFL(Federated[Options]):
    idea = "personal = a v + (1 - a) w: a model of one's own mixed with the federated one"
    paper = "Deng et al., 2020 (arXiv 2003.13461)"
    per_client = "its own model v_m, its mixed model, its a_m"
    options_type = Options
    carries = True
    averages = True
    gradients_per_step = 2

    def init(self, theta: Tensor, clients: ClientStore) -> State:
        clients.add("theta", theta)  # a v + (1 - a) w
        clients.add("own", theta)  # v
        clients.add("mix", torch.full((), self.options.a, dtype=theta.dtype))  # a
        return State({"theta": theta.clone()}, clients)

    def round(self, state: State, cohort: Cohort) -> State:
        clients, step = state.clients, self.step(cohort)
        w, v, a, _ = cohort.local(step, self.start(state, cohort), cohort.budget).end
        for name, rows in (("theta", a * v + (1 - a) * w), ("own", v), ("mix", a[:, 0])):
            clients.write(name, cohort.clients, rows)
        cohort.reveal_clients(steps=cohort.budget, mix=a[:, 0])
        return State({"theta": cohort.average(state.server["theta"], w, self.options.weighting)}, clients)

    def deliver(self, state: State, cohort: Cohort) -> Tensor:
        one = self.step(cohort)

        def step(rows: tuple[Tensor, ...], grad: Grad) -> tuple[Tensor, ...]:
            w, v, a, rate = one(rows[:4], grad)
            return w, v, a, rate, a * v + (1 - a) * w

        start = self.start(state, cohort)
        w, v, a, _ = start
        mix = a * v + (1 - a) * w
        rows, (_, v, a, _, _) = cohort.deliver(step, (*start, mix), cohort.budget, place=4)
        cohort.delivery.rows |= {"own": v, "mix": a[:, 0]}
        return rows

    def start(self, state: State, cohort: Cohort) -> tuple[Tensor, ...]:
        """w, v, a and a's rate, which is zero after the first batch."""
        a = cohort.own("mix")[:, None]
        rate = torch.full_like(a, cohort.learning_rate if self.options.adaptive else 0.0)
        return cohort.spread(state.server["theta"]), cohort.own("own"), a, rate

    def step(self, cohort: Cohort) -> Step:
        """w by itself, v through the mix, a along the mix's slope."""
        eta = cohort.learning_rate

        def step(rows: tuple[Tensor, ...], grad: Grad) -> tuple[Tensor, ...]:
            w, v, a, rate = rows
            w = w - eta * grad(w)
            mixed = grad(a * v + (1 - a) * w)  # the same batch, the new w
            slope = ((v - w) * mixed).sum(-1, keepdim=True)  # of the loss in a, at the same point
            return w, v - eta * a * mixed, (a - rate * slope).clamp(0, 1), torch.zeros_like(rate)

        return step
