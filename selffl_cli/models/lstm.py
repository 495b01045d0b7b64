"""FedProx's model for Sent140: a stacked LSTM over frozen word vectors, a dense layer, and a logit for two classes."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ..config.validation import Strict
from ..errors import SelfflError
from ..shards import Manifest
from .base import Model


class Options(Strict):
    hidden: int = Field(100, ge=1, le=4096, description="units of each LSTM layer (256 in the FedProx paper)")
    layers: int = Field(2, ge=1, le=16, description="LSTM layers")
    dense: int = Field(30, ge=1, le=4096, description="units of the dense layer between LSTM and output")
    read: Literal["last-token", "last-step"] = Field(
        "last-token",
        description="where the LSTM's output is read: last real token, or last padded step (reference)",
    )


class StackedLSTM(Model):
    """Token indices int [B, T], padded with 0 at the end, to logits [B, 1], or [B, K] of more than two classes.

    The embedding is a constant of the data: a non-persistent buffer, so it is never trained, sent, averaged
    or saved. With `read="last-token"` a batch is cut to its longest text: an LSTM sees no later step, so what
    is cut can change neither outputs nor gradients. A text without tokens is read at its first step, which is
    padding.
    """

    options_type = Options
    head = ("output.weight", "output.bias")
    trim = True  # looks at the longest text, so on a GPU the host waits; the stacked engine switches it off there
    embedding: Tensor

    def __init__(
        self,
        embedding: Tensor,
        hidden: int = 100,
        layers: int = 2,
        dense: int = 30,
        read: Literal["last-token", "last-step"] = "last-token",
        outputs: int = 1,
    ) -> None:
        """`embedding`: float [V, D], row 0 for padding."""
        super().__init__()
        self.read = read
        self.register_buffer("embedding", embedding, persistent=False)
        self.lstm = nn.LSTM(embedding.shape[1], hidden, layers, batch_first=True)
        self.dense = nn.Linear(hidden, dense)
        self.output = nn.Linear(dense, outputs)

    def forward(self, x: Tensor) -> Tensor:
        if self.read == "last-token":
            last = ((x != 0).sum(dim=1) - 1).clamp_min(0)
            if self.trim:
                x = x[:, : int(last.max()) + 1]
            states, _ = self.lstm(nn.functional.embedding(x, self.embedding))
            state = states[torch.arange(len(x), device=x.device), last]
        else:
            states, _ = self.lstm(nn.functional.embedding(x, self.embedding))
            state = states[:, -1]
        return self.output(torch.relu(self.dense(state)))

    @classmethod
    def build(cls, options: Options, manifest: Manifest, shared: dict[str, Tensor]) -> StackedLSTM:
        """The model for shards of texts; their word vectors are `shared["embedding"]` [V, D]."""
        if "embedding" not in shared:
            raise SelfflError(
                f"model 'lstm': the shards of {manifest.name} hold no word vectors; "
                "it is for data sets of text, prepared for example by: selffl prepare sent140"
            )
        outputs = 1 if manifest.outputs == 2 else manifest.outputs
        return cls(shared["embedding"], **options.model_dump(), outputs=outputs)
