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

from ..dataset import DataSet, Stage
from ..dealing.pool import Pool, PrepareOptions, generator

DIMENSION, CLASSES = 60, 10
LEAST, LOG_MEAN, LOG_SPREAD = 50, 4.0, 2.0
MOST_SAMPLES = 20_000_000  # samples; a float32 row has 240 bytes
BLOCK = 4096  # clients drawn at once; 600 weights each
UNUSED: dict[str, Any] = {"hidden": True}


class Options(PrepareOptions):
    clients: int | None = Field(30, ge=1, le=10_000_000, description="Number of clients.")
    samples: int | None = Field(
        None, ge=2, le=1_000_000, description="Samples of every client. Default: 50 and a log-normal, as published."
    )
    partition: Literal["natural"] = Field("natural", description="Fixed.", json_schema_extra=UNUSED)
    test: float = Field(0.1, ge=0, lt=1, description="Share of a client's samples kept for testing.")
    alpha: float = Field(1.0, ge=0, le=1e6, description="Standard deviation of u_k, the mean of W_k and b_k.")
    beta: float = Field(1.0, ge=0, le=1e6, description="Standard deviation of B_k, the mean of v_k.")
    iid: bool = Field(False, description="One W and b for all and inputs around 0; alpha and beta are unused.")


class Synthetic(DataSet):
    """FedProx's Synthetic(alpha, beta); drawn, no download."""

    options_type = Options

    def load(self, options: Options, source: Path | None, stage: Stage) -> Pool:
        """x float32 [n, 60]; y int64 [n], from 0 to 9; clients are natural.

        Each kind of draw has its own stream, so that alpha and beta only move the same deviates; labels are those
        of the inputs before these are rounded to float32. Drawn for some clients at a time: a stream is the same
        in pieces.
        """
        if options.clients is None:
            raise ValueError("clients is never None here")
        clients = options.clients
        streams: dict[str, np.random.Generator] = {}

        def normal(purpose: str, *shape: int) -> np.ndarray:
            stream = streams.setdefault(purpose, generator(options.seed, f"synthetic {purpose}"))
            return stream.standard_normal(shape)

        if options.samples is None:
            sizes = LEAST + np.exp(LOG_MEAN + LOG_SPREAD * normal("sizes", clients)).astype(np.int64)
        else:
            sizes = np.full(clients, options.samples)
        if sizes.sum() > MOST_SAMPLES:
            raise UsageError(
                f"synthetic: {clients:,} clients have {sizes.sum():,} samples; ask for fewer --clients, or fewer "
                "--samples"
            )
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        pool_x, pool_y = np.empty((offsets[-1], DIMENSION), np.float32), np.empty(offsets[-1], np.int64)
        shared = (normal("weights", DIMENSION, CLASSES), normal("bias", CLASSES)) if options.iid else None
        for first in range(0, clients, BLOCK):
            own = sizes[first : first + BLOCK]
            rows = slice(offsets[first], offsets[first] + own.sum())
            x = normal("inputs", own.sum(), DIMENSION) * np.arange(1, DIMENSION + 1) ** -0.6
            if shared:
                weights, bias = shared
                y = (x @ weights + bias).argmax(axis=1)
            else:
                u = options.alpha * normal("u", len(own))
                centre = options.beta * normal("B", len(own))[:, None] + normal("v", len(own), DIMENSION)
                x += np.repeat(centre, own, axis=0)
                weights = u[:, None, None] + normal("weights", len(own), DIMENSION, CLASSES)
                bias = u[:, None] + normal("bias", len(own), CLASSES)
                if options.samples:
                    y = (x.reshape(len(own), -1, DIMENSION) @ weights + bias[:, None]).argmax(axis=2).ravel()
                else:
                    pieces = np.split(x, np.cumsum(own)[:-1])
                    y = np.concatenate([(x @ weights[k] + bias[k]).argmax(axis=1) for k, x in enumerate(pieces)])
            pool_x[rows], pool_y[rows] = x, y
        return Pool(
            arrays={"x": pool_x, "y": pool_y},
            classes=[str(label) for label in range(CLASSES)],
            citation=(
                "drawn by the recipe of T. Li et al.: Federated Optimization in Heterogeneous Networks, MLSys "
                "2020, section 5.1"
            ),
            client=np.repeat(np.arange(clients), sizes),
            client_names=[f"client-{k}" for k in range(clients)],
            notes={} if options.iid else {"alpha": options.alpha, "beta": options.beta},
        )
