"""Next-word language model: a word embedding, LSTM layers, and one logit for each word of the vocabulary."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..config.validation import Strict
from ..errors import SelfflError
from ..shards import Manifest
from .base import Model


class Options(Strict):
    embedding: int = Field(64, ge=1, le=4096, description="width of the word embedding")
    hidden: int = Field(64, ge=1, le=4096, description="units of each LSTM layer")
    layers: int = Field(1, ge=1, le=16, description="LSTM layers")


class NextWord(Model):
    """Word indices int [B, L], padded with 0 at the end, to logits [B, T, V] of the words at positions 1 to T.

    T is one less than the longest text of the batch: an LSTM sees no later step, so what is cut can change neither
    outputs nor gradients of what is kept.
    """

    options_type = Options
    head = ("output.weight", "output.bias")
    trim = True  # looks at the longest text, so on a GPU the host waits; the stacked engine switches it off there

    def __init__(self, words: int, embedding: int = 64, hidden: int = 64, layers: int = 1) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, embedding)
        self.lstm = nn.LSTM(embedding, hidden, layers, batch_first=True)
        self.output = nn.Linear(hidden, words)
        for parameter in (self.embedding.weight, self.output.weight):  # Zaremba et al. 2014; N(0, 1) starts far off
            nn.init.uniform_(parameter, -0.1, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        longest = int((x != 0).sum(1).max().clamp_min(2)) if self.trim else x.shape[1]
        states, _ = self.lstm(self.embedding(x[:, : longest - 1]))
        return self.output(states)

    @classmethod
    def build(cls, options: Options, manifest: Manifest, shared: dict[str, Tensor]) -> NextWord:
        """The model for shards of texts; its words are the lines of `shared["vocabulary"]`."""
        if manifest.task != "language-model":
            raise SelfflError(
                f"model 'next-word' predicts words; {manifest.name} holds no texts for it (snips and shakespeare do)"
            )
        words = bytes(shared["vocabulary"].tolist()).count(b"\n") + 1
        with torch.no_grad():
            return cls(words, **options.model_dump())
