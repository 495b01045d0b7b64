"""ActPerFL by hierarchical Bayes: beyond the paper, under its own name.

Eqn 2 takes the other clients as witnesses of theta_m itself, so it collapses to the global mean as their
number grows. The exact posterior mean of theta_m, with a flat prior on theta_0, is

    (theta_m^L/s_m + theta_G/s0) / (1/s_m + 1/s0).

So a client starts from the global model and takes the l steps that leave the weight gamma_m = s_m/(s0 + s_m)
on it: l = ln(gamma_m)/ln(1 - rho_m). In Eqn 7, 1/s0, the prior's precision, stands where A_m stood, the
others'. Personal models are averaged equally: they are shrunk already, and w_m would count it twice.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from ..config.validation import Strict
from ..engine.cohort import Cohort, State
from . import actperfl
from .hierarchy import TINY
from .uncertainty import Inter, Intra, Normaliser


class Options(Strict):
    intra: Intra = Field("within-round", description="s_m from iterates, end points over rounds, or Fisher")
    inter: Inter = Field("corrected", description="s0 as Eqn 12, or corrected for shrinkage")
    steps: Literal["calibrated", "literal", "curvature", "fixed"] = Field(
        "calibrated", description="contraction rho_m in use, as in actperfl"
    )
    max_steps: float = Field(4.0, gt=0, description="most local steps, in FedAvg's")
    normaliser: Normaliser = Field("count", description="by count, plain trace, or by count and entry")
    fisher_prior: float = Field(1.0, gt=0, description="prior precision of intra = fisher")


class ActPerFLHB(actperfl.ActPerFL):
    idea = "hierarchical Bayes: steps leave the posterior's weight s_m/(s0 + s_m) on the global model"
    paper = "ours, beyond Chen et al. 2022"
    per_client = "its model and s_m"
    options_type = Options  # type: ignore[assignment]  # a choice of the other's options

    def __init__(self, options: Options) -> None:
        super().__init__(actperfl.Options(**options.model_dump(), init="global", aggregate="equal"))

    def others(self, state: State, cohort: Cohort, w: Tensor, s0: Tensor, delivering: bool = False) -> Tensor:
        """1/s0 in the place of A_m, so that A_m/(1/s_m + A_m) becomes s_m/(s0 + s_m) [C]."""
        return (1 / s0.clamp_min(TINY)).expand_as(w)
