"""BiLSTM tagger: word embedding, one LSTM each way, and logits over the tags for every word."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn

from ..config.validation import Strict
from ..errors import SelfflError
from ..shards import Manifest
from .base import Model


class Options(Strict):
    embedding: int = Field(32, ge=1, le=4096, description="width of the word embedding")
    hidden: int = Field(48, ge=1, le=4096, description="units of each direction")


class BiLSTM(Model):
    """Words and tags int [B, 2, L], padded with 0, to logits [B, T, K] for the T words of the longest text."""

    options_type = Options
    head = ("output.weight", "output.bias")

    def __init__(self, words: int, tags: int, embedding: int = 32, hidden: int = 48) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, embedding)
        self.lstm = nn.LSTM(embedding, hidden, batch_first=True, bidirectional=True)
        self.output = nn.Linear(2 * hidden, tags)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        words = x[:, 0].long()
        lengths = (words != 0).sum(1).clamp_min(1).cpu()
        return self.tag(self.embedding(words[:, : int(lengths.max())]), lengths)

    def tag(self, embedded: Tensor, lengths: Tensor) -> Tensor:
        """Logits from embedded words [B, T, E] of texts of these lengths [B]; padding reaches neither direction."""
        packed = nn.utils.rnn.pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
        states, _ = nn.utils.rnn.pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        return self.output(states)

    @classmethod
    def build(cls, options: Options, manifest: Manifest, shared: dict[str, Tensor]) -> BiLSTM:
        """The model for shards of tagged texts."""
        if manifest.task != "tagging":
            raise SelfflError(f"model 'bilstm' tags words; {manifest.name} has no tags (snips-tags and tags have)")
        words, tags = (bytes(shared[name].tolist()).count(b"\n") + 1 for name in ("vocabulary", "tags"))
        with torch.no_grad():
            return cls(words, tags, **options.model_dump())
