"""A pool of texts as token indices, and its vocabulary and word vectors once the split is known."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from selffl_cli.shards import sha256

from ..dealing.pool import Pool
from . import text


@dataclass
class TokenPool(Pool):
    """A pool whose `x` holds provisional token indices, one for every distinct token, until `finish_tokens`."""

    words: list[str] = field(default_factory=list)


def finish_tokens(
    pool: TokenPool, train: np.ndarray, embeddings: Path | None, width: int, min_count: int, max_words: int, seed: int
) -> None:
    """Final token indices in `x`, and their frozen vectors in `shared`; `train` are the rows of training samples.

    `embedding` float32 [V, width], rows 0 (padding) and 1 (unknown) zero; `vocabulary` uint8, the V tokens in
    UTF-8, a line each. Vocabulary and vectors come from training texts alone; with `embeddings`, which saw
    none of the texts, every token that the file knows is kept.
    """
    x, words = pool.arrays["x"], pool.words
    size = len(words)
    if embeddings:
        found = text.read_embeddings(embeddings, words[2:], width)
        kept = np.array([i for i in text.vocabulary(x, size, 1, size) if words[i] in found], np.int64)
        vectors = np.stack([np.zeros(width, np.float32)] * 2 + [found[words[i]] for i in kept])
        x = text.reindex(x, size, kept)
        pool.sources.append({"name": embeddings.name, "sha256": sha256(embeddings)})
    else:
        kept = text.vocabulary(x[train], size, min_count, max_words)
        x = text.reindex(x, size, kept)
        vectors = text.word_vectors(x[train], len(kept) + 2, width, seed)
    pool.arrays["x"] = x
    vocabulary = "\n".join([*text.SPECIAL, *(words[i] for i in kept)])
    pool.shared |= {"embedding": vectors, "vocabulary": np.frombuffer(vocabulary.encode(), np.uint8)}
    pool.words = []
