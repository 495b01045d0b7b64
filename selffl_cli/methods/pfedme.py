"""pFedMe (Dinh et al. 2020): federated descent on the Moreau envelopes of the clients' losses."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from ..engine.cohort import Cohort, Grad, State, Step
from .base import Federated, StepCount, Weighted, Weighting, step_count


class Options(Weighted):
    weighting: Weighting = Field("equal", description="average equally (-e) or by samples (-w)")
    lam: float = Field(15.0, gt=0, description="pull of th to w_m; lam x outer_rate < 2")
    inner_steps: int = Field(5, ge=1, description="K, steps of th on each batch")
    inner_rate: float = Field(0.09, gt=0, description="their rate; x (lam + curvature) < 2")
    local_rounds: StepCount = Field("budget", description="R, batches in a round (authors: 20)")
    outer_rate: Annotated[float, Field(gt=0)] | Literal["learning_rate"] = Field(
        "learning_rate", description="eta of w_m (authors: 0.005)"
    )
    b: float = Field(1.0, gt=0, description="share of the new mean in the global model")
    start: Literal["local", "last"] = Field("local", description="inner steps start at w_m or at the last th")


class PFedMe(Federated[Options]):
    idea = "personal models minimise F_m(th) + lam/2 ‖th - w‖²; w descends the envelope"
    paper = "Dinh et al., NeurIPS 2020"
    per_client = "its personal model, kept apart from w_m"
    options_type = Options
    averages = True
    remarks = {
        "wakeword": "pFedMe has no row in the paper, where it diverged; here it diverged in {diverged} of {runs} runs."
    }

    def round(self, state: State, cohort: Cohort) -> State:
        options, theta = self.options, state.server["theta"]
        received, rounds = cohort.spread(theta), step_count(options.local_rounds, cohort)
        w, personal = cohort.local(self.step(cohort), (received, received), rounds).end
        state.clients.write("theta", cohort.clients, personal)
        cohort.reveal_clients(steps=rounds)
        mean = cohort.average(theta, w, options.weighting)
        return State({"theta": (1 - options.b) * theta + options.b * mean}, state.clients)

    def deliver(self, state: State, cohort: Cohort) -> Tensor:
        received, rounds = cohort.spread(state.server["theta"]), step_count(self.options.local_rounds, cohort)
        return cohort.deliver(self.step(cohort), (received, received), rounds, place=1)[0]

    def step(self, cohort: Cohort) -> Step:
        """One local round: th by inner steps on one batch, then w along the envelope's gradient."""
        options = self.options
        lam, rate = options.lam, options.inner_rate
        eta = cohort.learning_rate if options.outer_rate == "learning_rate" else options.outer_rate

        def step(models: tuple[Tensor, Tensor], grad: Grad) -> tuple[Tensor, Tensor]:
            w, last = models
            th = w if options.start == "local" else last
            for _ in range(options.inner_steps):  # all on this step's one batch
                th = th - rate * (grad(th) + lam * (th - w))
            return w - lam * eta * (w - th), th

        return step
