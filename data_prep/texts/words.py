"""Texts for a next-word language model: boundaries, pieces of equal width, and a vocabulary from training texts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from pydantic import Field

from ..dealing.pool import TRAIN, Assignment, Pool, PrepareOptions
from . import text

BOUNDARY = len(text.SPECIAL)  # stands before every text, and after every text that ends within its piece
SPECIAL = [*text.SPECIAL, "<s>"]


class WordOptions(PrepareOptions):
    tokens: int = Field(30, ge=1, le=1000, description="Words in a sample; longer texts make several samples.")
    min_count: int = Field(2, ge=1, description="Rarer words of the training texts are unknown.")
    max_words: int = Field(2000, ge=1, le=1_000_000, description="At most so many words are known, the most frequent.")


@dataclass
class WordPool(Pool):
    """A pool whose `x` holds provisional word indices until `finish`; `ends` [n]: the text ends with this sample."""

    words: list[str] = field(default_factory=list)
    ends: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))


def pieces(texts: Iterable[str], width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[str]]:
    """Provisional indices int32 [n, width], the text of each piece [n], whether it is its text's last [n], and words.

    A text longer than `width` words goes on in the next piece. Texts without words have no piece.
    """
    encoder = text.Encoder(limit=width)
    of, last, rows = [], [], []
    for number, whole in enumerate(texts):
        words = text.tokenise(whole.replace("’", "'"), limit=10**9)
        for begin in range(0, len(words), width):
            rows.append(" ".join(words[begin : begin + width]))
            of.append(number)
            last.append(begin + width >= len(words))
    return encoder.encode(rows), np.array(of, np.int64), np.array(last, bool), encoder.words


def finish(pool: Pool, assignment: Assignment, options: PrepareOptions) -> None:
    """Once the split is known: final indices, int32 [n, tokens + 2], and the words in `shared`.

    A row is <s>, the words, <s> where the text ends, and padding 0. `vocabulary` uint8: the V words in UTF-8, a line
    each, in order of their index; it comes from the training samples of all clients and periods alone.
    """
    assert isinstance(pool, WordPool) and isinstance(options, WordOptions)
    x, size = pool.arrays["x"], len(pool.words)
    kept = text.vocabulary(x[assignment.rows(TRAIN)], size, options.min_count, options.max_words)
    x = text.reindex(x, size, kept)
    x[x >= BOUNDARY] += 1  # make room for <s>
    lengths = (x != text.PADDING).sum(1)
    full = np.zeros((len(x), x.shape[1] + 2), np.int32)
    full[:, 0], full[:, 1:-1] = BOUNDARY, x
    full[np.flatnonzero(pool.ends), lengths[pool.ends] + 1] = BOUNDARY
    train = assignment.rows(TRAIN)
    pool.notes |= {
        "words": len(kept) + len(SPECIAL),
        "unknown_share": round(float((x[train] == text.UNKNOWN).sum() / max(lengths[train].sum(), 1)), 4),
    }
    pool.arrays["x"] = full
    pool.shared["vocabulary"] = np.frombuffer("\n".join([*SPECIAL, *(pool.words[i] for i in kept)]).encode(), np.uint8)
    pool.words = []
