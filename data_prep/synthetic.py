"""FedProx's Synthetic(alpha, beta): softmax regression problems, one a client, drawn from the seed.

T. Li, A. K. Sahu, M. Zaheer, M. Sanjabi, A. Talwalkar, V. Smith: Federated Optimization in Heterogeneous
Networks, MLSys 2020, section 5.1. Client k has W_k [60, 10] and b_k [10] with entries from N(u_k, 1), u_k of
standard deviation alpha; inputs from N(v_k, diag(j^-1.2)), entries of v_k from N(B_k, 1), B_k with standard
deviation beta; and the label argmax(W_k' x + b_k). The public code draws with alpha and beta as standard
deviations, so published figures are for these; sizes are 50 plus a log-normal of (4, 2) rounded down.

u_k adds the same amount to every logit, so alpha leaves the labels as they are: clients differ by the W_k
that each draws for itself, whatever alpha is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from selffl_cli.errors import UsageError

from .pool import Pool, PrepareOptions, generator

DIMENSION, CLASSES = 60, 10
LEAST, LOG_MEAN, LOG_SPREAD = 50, 4.0, 2.0
MOST = 20_000_000  # samples; a float32 row has 240 bytes
UNUSED: dict[str, Any] = {"hidden": True}


class Options(PrepareOptions):
    clients: int | None = Field(30, ge=1, le=100_000, description="Number of clients.")
    partition: Literal["natural"] = Field("natural", description="Fixed.", json_schema_extra=UNUSED)
    test: float = Field(0.1, ge=0, lt=1, description="Share of a client's samples kept for testing.")
    alpha: float = Field(1.0, ge=0, le=1e6, description="Standard deviation of u_k, the mean of W_k and b_k.")
    beta: float = Field(1.0, ge=0, le=1e6, description="Standard deviation of B_k, the mean of v_k.")
    iid: bool = Field(
        False, description="One W and b for all and inputs around 0; alpha and beta are unused."
    )


def load(options: Options, source: Path | None) -> Pool:
    """x float32 [n, 60]; y int64 [n], from 0 to 9; clients are natural.

    Each kind of draw has its own stream, so that alpha and beta only move the same deviates; labels are those
    of the inputs before these are rounded to float32.
    """
    if options.clients is None:
        raise ValueError("clients is never None here")
    clients = options.clients

    def normal(purpose: str, *shape: int) -> np.ndarray:
        return generator(options.seed, f"synthetic {purpose}").standard_normal(shape)

    sizes = LEAST + np.exp(LOG_MEAN + LOG_SPREAD * normal("sizes", clients)).astype(np.int64)
    if sizes.sum() > MOST:
        raise UsageError(
            f"synthetic: {clients:,} clients have {sizes.sum():,} samples; ask for fewer --clients"
        )
    owner = np.repeat(np.arange(clients), sizes)
    x = normal("inputs", len(owner), DIMENSION) * np.arange(1, DIMENSION + 1) ** -0.6
    if options.iid:
        weights, bias = normal("weights", DIMENSION, CLASSES), normal("bias", CLASSES)
        y = (x @ weights + bias).argmax(axis=1)
    else:
        u = options.alpha * normal("u", clients)
        centre = options.beta * normal("B", clients)[:, None] + normal("v", clients, DIMENSION)
        x += centre[owner]
        weights = u[:, None, None] + normal("weights", clients, DIMENSION, CLASSES)
        bias = u[:, None] + normal("bias", clients, CLASSES)
        y = np.concatenate([
            (own @ weights[k] + bias[k]).argmax(axis=1)
            for k, own in enumerate(np.split(x, np.cumsum(sizes)[:-1]))
        ])  # fmt: skip
    return Pool(
        arrays={"x": x.astype(np.float32), "y": y.astype(np.int64)},
        classes=[str(label) for label in range(CLASSES)],
        citation=(
            "drawn by the recipe of T. Li et al.: Federated Optimization in Heterogeneous Networks, MLSys "
            "2020, section 5.1"
        ),
        client=owner,
        client_names=[f"client-{k}" for k in range(clients)],
        notes={} if options.iid else {"alpha": options.alpha, "beta": options.beta},
    )
