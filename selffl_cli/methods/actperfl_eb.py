"""ActPerFL by empirical Bayes: how far a client moves from the global model is found from held-out training samples.

Beyond the papers, under its own name. Eqn 7 with the exact posterior's weight reads (1 - rho)^l = s_m/(s0 + s_m). With
s_m = sigma²/n_m and the prior's strength k = sigma²/s0, counted in samples, it becomes

    l_m(k, L) = L ln(1 + n_m/k),    L = -1/ln(1 - rho).

Two numbers of the whole population set every client's steps. The variances of iterates are not needed: k, L and the
family (where the walk starts, at which rate, and whether the head alone moves) are those that predict held-out training
samples best, summed over clients. Validation and test samples are not touched.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ..engine.cohort import Cohort, State
from ..engine.hearing import Hearing
from ..engine.store import ClientStore
from .actperfl import ActPerFL
from .actperfl import Options as ActPerFLOptions
from .base import Method, Weighted
from .evidence_findings import decide, findings
from .evidence_table import gather
from .fedavg import FedAvg
from .folds import Folds, HeldOut, plan
from .walks import descent, families, settings


class Options(Weighted):
    base: Literal["fedavg", "actperfl"] = Field("fedavg", description="the method that trains the global model")
    choice: Literal["pooled", "posterior", "own", "evidence"] = Field(
        "pooled",
        description="one (k, L) for all, the mean under each client's r_m, its own best, or what predicts best",
    )
    evidence_base: HeldOut = Field(
        "held-out", description="fold 0 of every client takes no part in the base's training, or all folds do"
    )
    folds: int = Field(4, ge=2, le=100, description="parts that each client deals its training samples into")
    max_steps: int = Field(2048, ge=1, le=1_000_000, description="most steps of a walk; also 20 times the base's")

    @model_validator(mode="after")
    def _weighs_something(self) -> Options:
        if self.base == "actperfl" and self.weighting != "samples":
            raise ValueError("weighting is of base = fedavg; actperfl weighs by uncertainty")
        return self


class ActPerFLEB(Method[Options]):
    idea = "how far each client moves from the global model is read from held-out training samples of all"
    paper = "ours, beyond Chen et al. 2022"
    per_client = "what its base keeps; how far it moves is found at delivery"
    options_type = Options
    hears = True

    def __init__(self, options: Options) -> None:
        super().__init__(options)
        fedavg = options.base == "fedavg"
        self.base: Method = FedAvg(Weighted(weighting=options.weighting)) if fedavg else ActPerFL(ActPerFLOptions())

    def init(self, theta: Tensor, clients: ClientStore) -> State:
        state = self.base.init(theta, clients)
        return State({**state.server, "origin": theta.clone()}, clients)

    def round(self, state: State, cohort: Cohort) -> State:
        if self.options.evidence_base == "held-out":
            folds = Folds(cohort.batches.seed, cohort.data.sizes, self.options.folds)
            cohort = cohort.keeping(lambda client: folds.rest(client, (0,)))
        new = self.base.round(state, cohort)
        return State({**state.server, **new.server}, new.clients)

    def personal(self, state: State, cohort: Cohort) -> Tensor:
        return self.base.personal(state, cohort)

    def global_(self, state: State) -> Tensor:
        return state.server["theta"]

    def traffic(self, size: int, head: int) -> tuple[int, int]:
        return self.base.traffic(size, head)

    def hear(self, state: State, hearing: Hearing) -> State:
        """Find the amounts of all clients, from the evidence of those that have any."""
        options = self.options
        nested = options.choice == "evidence" or options.evidence_base == "held-out"
        table = gather(state, hearing, plan(options.evidence_base, options.folds, nested), options)
        chosen = decide(table, options.choice, hearing.samples)
        hearing.findings |= findings(hearing, table, chosen)
        device = state.server["theta"].device
        family = torch.as_tensor(chosen.amounts.family, device=device)
        steps = torch.as_tensor(table.grid[chosen.amounts.place], device=device)
        return State({**state.server, "family": family, "steps": steps}, state.clients)

    def deliver(self, state: State, cohort: Cohort) -> Tensor:
        """Each client's amount, walked on all its training samples; FedAvg's budget before anything was found."""
        server, clients = state.server, cohort.clients
        family = server["family"][clients] if "family" in server else torch.zeros_like(clients)
        steps = server["steps"][clients] if "steps" in server else cohort.budget
        start, context = settings(cohort, families(cohort.head), family, server["theta"], server["origin"])
        return cohort.deliver(descent(cohort, "evidence"), start, steps, context)[0]
