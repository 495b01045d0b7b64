"""The two-level Gaussian model with everything known: theta_m ~ N(theta_0, s0), z_m ~ N(theta_m, s_m).

A client's one training sample is its observation z_m with the loss (theta - z_m)²/(2 s_m); its one test
sample is the true theta_m. The model is that of ActPerFL (Chen et al., FL4NLP 2022, section 3).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from ..dataset import DataSet, Stage
from ..dealing.pool import TEST, TRAIN, Pool, PrepareOptions, generator

# samples are drawn client by client and part by part: nothing is dealt or split
UNUSED: dict[str, Any] = {"hidden": True}


class Options(PrepareOptions):
    clients: int | None = Field(10, ge=1, le=10_000_000, description="Number of clients.")
    partition: Literal["natural"] = Field("natural", description="Fixed.", json_schema_extra=UNUSED)
    validation: float = Field(0.0, ge=0, le=0, description="Fixed.", json_schema_extra=UNUSED)
    test: float = Field(0.0, ge=0, le=0, description="Fixed.", json_schema_extra=UNUSED)
    s0: float = Field(1.0, ge=0, le=1e12, description="Inter-client variance, of theta_m around theta_0.")
    s: float = Field(1.0, gt=0, le=1e12, description="Mean intra-client variance, of z_m around theta_m.")
    spread: float = Field(
        0.0, ge=0, le=10, description="Standard deviation of log s_m: 0 for equal s_m, else log-normal."
    )
    dimension: int = Field(1, ge=1, le=1_000_000, description="Independent copies of the scalar model.")
    theta0: float = Field(0.0, ge=-1e12, le=1e12, description="The true centre, in every dimension.")


class Gaussian(DataSet):
    """Two-level Gaussian with known centre, clients and variances."""

    options_type = Options

    def load(self, options: Options, source: Path | None, stage: Stage) -> Pool:
        """Train: x = z_m, test: x = theta_m, both float64 [M, d]; y float64 [M] = s_m. `shared` has theta_0 [d].

        Each kind of draw has its own stream, so that changing s0 or s with the same seed only rescales the same
        deviates.
        """
        if options.clients is None:
            raise ValueError("clients is never None here")
        clients, size = options.clients, (options.clients, options.dimension)

        def normal(purpose: str, shape: tuple[int, ...]) -> np.ndarray:
            return generator(options.seed, f"gaussian {purpose}").standard_normal(shape)

        # E[exp(spread N)] = exp(spread²/2), so that the mean of s_m is s
        variance = options.s * np.exp(options.spread * normal("variance", (clients,)) - options.spread**2 / 2)
        truth = options.theta0 + np.sqrt(options.s0) * normal("truth", size)
        observed = truth + np.sqrt(variance)[:, None] * normal("observation", size)
        return Pool(
            arrays={"x": np.concatenate([observed, truth]), "y": np.concatenate([variance, variance])},
            classes=[],
            citation="drawn from the two-level Gaussian model of ActPerFL (Chen et al., FL4NLP 2022, section 3)",
            task="gaussian",
            client=np.tile(np.arange(clients), 2),
            part=np.repeat([TRAIN, TEST], clients),
            shared={"theta_0": np.full(options.dimension, options.theta0)},
            client_columns={"variance": variance},
            notes={"s0": options.s0, "s": options.s, "spread": options.spread},
        )
