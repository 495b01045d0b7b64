"""Tweets to numbers: tokens, a vocabulary from training samples only, and frozen word vectors.

Word vectors are positive pointwise mutual information (PPMI) factorised by a truncated SVD, as in Levy,
Goldberg and Dagan, "Improving Distributional Similarity with Lessons Learned from Word Embeddings" (TACL
2015), or read from a GloVe text file.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from scipy import sparse

from selffl_cli.errors import SelfflError

TOKEN = re.compile(r"[\w']+|[.,!?;]")  # the rule of LEAF and FedProx for Sent140
PADDING, UNKNOWN = 0, 1  # both have a zero vector, as in FedProx's reference
SPECIAL = ["<pad>", "<unk>"]  # their names; no token can be one of them, since < is not in the rule
WINDOW = 5  # co-occurrence window, tokens to either side, all distances alike
SMOOTHING = 0.75  # exponent on the context counts (Levy et al. 2015, section 3.2)
SCALE = 0.4  # root mean square of the entries of the word vectors; that of GloVe 6B 300-d is about as large


def tokenise(text: str, lower: bool = True, limit: int = 25) -> list[str]:
    """The first `limit` tokens of a text. Lower-casing comes after the rule, so it keeps their number."""
    tokens: list[str] = []
    for match in TOKEN.finditer(text):
        if len(tokens) == limit:
            break
        tokens.append(match.group().lower() if lower else match.group())
    return tokens


class Encoder:
    """Gives every distinct token the next free index, from 2 up, in order of first appearance."""

    def __init__(self, lower: bool = True, limit: int = 25) -> None:
        self.lower, self.limit = lower, limit
        self.index = {name: i for i, name in enumerate(SPECIAL)}

    @property
    def words(self) -> list[str]:
        """The tokens in order of their index; the first two are padding and unknown."""
        return list(self.index)

    def encode(self, texts: Iterable[str]) -> np.ndarray:
        """int32 [n, limit]: token indices, padded with 0 at the end; an empty text is all padding."""
        index, flat = self.index, array("i")
        for text in texts:
            row = [index.setdefault(token, len(index)) for token in tokenise(text, self.lower, self.limit)]
            flat.extend(row)
            flat.extend([PADDING] * (self.limit - len(row)))
        return np.array(flat, np.int32).reshape(-1, self.limit)


class Characters(Encoder):
    """The same for characters. A line end is one, too, and is called <n>: a vocabulary has a token a line."""

    def __init__(self, limit: int) -> None:
        super().__init__(lower=False, limit=limit)

    def encode(self, texts: Iterable[str]) -> np.ndarray:
        """int32 [n, limit]: indices of the last `limit` characters, padded with 0 at the end."""
        index, flat = self.index, array("i")
        for whole in texts:
            row = [index.setdefault("<n>" if c in "\r\n" else c, len(index)) for c in whole[-self.limit :]]
            flat.extend(row)
            flat.extend([PADDING] * (self.limit - len(row)))
        return np.array(flat, np.int32).reshape(-1, self.limit)


def vocabulary(x: np.ndarray, size: int, min_count: int, max_words: int) -> np.ndarray:
    """Indices of the at most `max_words` tokens seen at least `min_count` times in `x`, the most frequent
    first.

    `x`: int [n, T] indices below `size`. Padding and unknown are left out; of tokens
    seen equally often the one with the lower index comes first.
    """
    counts = np.bincount(x.ravel(), minlength=size)
    counts[: len(SPECIAL)] = 0
    order = np.argsort(-counts, kind="stable")
    return order[: min(int((counts >= max(min_count, 1)).sum()), max_words)]


def reindex(x: np.ndarray, size: int, kept: np.ndarray) -> np.ndarray:
    """`x` with token `kept[i]` renamed to i + 2, padding kept, all others unknown; int32, same shape."""
    table = np.full(size, UNKNOWN, np.int32)
    table[PADDING] = PADDING
    table[kept] = np.arange(len(SPECIAL), len(kept) + len(SPECIAL), dtype=np.int32)
    return table[x]


def cooccurrence(x: np.ndarray, size: int, window: int = WINDOW, chunk: int = 100_000) -> sparse.csr_array:
    """Symmetric counts [size, size] of pairs of known tokens at most `window` apart."""
    total = sparse.csr_array((size, size), dtype=np.float64)
    for begin in range(0, len(x), chunk):
        rows = x[begin : begin + chunk].astype(np.int64)
        pairs = [np.empty(0, np.int64)]
        for distance in range(1, min(window, x.shape[1] - 1) + 1):
            left, right = rows[:, :-distance].ravel(), rows[:, distance:].ravel()
            known = (left > UNKNOWN) & (right > UNKNOWN)
            left, right = left[known], right[known]
            pairs += [left * size + right, right * size + left]
        keys, counts = np.unique(np.concatenate(pairs), return_counts=True)
        found = (counts.astype(np.float64), (keys // size, keys % size))
        total = total + sparse.csr_array(found, (size, size))
    return total


def ppmi(counts: sparse.csr_array, smoothing: float = SMOOTHING) -> sparse.csr_array:
    """max(0, ln(P(w, c) / (P(w) P'(c)))) for every counted pair, P'(c) proportional to count(c)^smoothing.

    `counts` is used up: at the size of all tweets a copy would be the largest array there is.
    """
    sums = counts.sum(axis=1)  # of rows, and by symmetry of columns
    contexts = sums**smoothing
    values = counts.data
    values *= contexts.sum()
    values /= np.repeat(sums, np.diff(counts.indptr))
    values /= contexts[counts.indices]
    np.log(values, out=values)
    np.maximum(values, 0.0, out=values)
    counts.eliminate_zeros()
    return counts


def word_vectors(x: np.ndarray, size: int, dimensions: int, seed: int) -> np.ndarray:
    """Frozen word vectors float32 [size, dimensions] from the token indices `x` [n, T] (training samples
    only).

    PPMI, truncated SVD, U sqrt(singular values) (Levy et al. 2015, eigenvalue weighting 0.5), scaled as one
    matrix to entries of root mean square SCALE. Padding, unknown and dimensions beyond the rank of the data
    are zero.
    """
    from sklearn.decomposition import TruncatedSVD
    from threadpoolctl import threadpool_limits

    vectors = np.zeros((size, dimensions), np.float32)
    matrix = ppmi(cooccurrence(x, size))
    rank = min(dimensions, size - 1)
    if rank < 1 or matrix.nnz == 0:
        return vectors
    svd = TruncatedSVD(rank, n_iter=5, random_state=seed)
    with threadpool_limits(1):  # the bits of a BLAS sum depend on the number of threads
        scores = svd.fit_transform(matrix)  # U S
    found = svd.singular_values_ > 1e-9 * svd.singular_values_[0]
    scores = scores[:, found] / np.sqrt(svd.singular_values_[found])
    scores[: len(SPECIAL)] = 0.0
    scores *= SCALE / np.sqrt(np.mean(scores[len(SPECIAL) :] ** 2))
    vectors[:, : scores.shape[1]] = scores
    return vectors


def tfidf(x: np.ndarray, size: int, seed: int, dimensions: int = 50) -> np.ndarray:
    """Features for k-means, float64 [n, dimensions], rows of length 1 (0 for an empty text).

    TF-IDF of the token indices `x` [n, T] below `size`, with logarithmic counts, tokens of two texts or more,
    reduced by a truncated SVD: on the sparse matrix itself k-means is slow, and no better.
    """
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfTransformer
    from sklearn.preprocessing import normalize
    from threadpoolctl import threadpool_limits

    row, column = np.nonzero(x > UNKNOWN)
    counts = sparse.csr_matrix((np.ones(len(row)), (row, x[row, column])), (len(x), size))
    often = np.flatnonzero(np.bincount(counts.indices, minlength=size) >= 2)
    if len(often) < 2:
        return np.zeros((len(x), 1))
    weights = TfidfTransformer(sublinear_tf=True).fit_transform(counts[:, often])
    svd = TruncatedSVD(min(dimensions, len(often) - 1), random_state=seed)
    with threadpool_limits(1):  # as above
        return normalize(svd.fit_transform(weights))


def read_embeddings(path: Path, words: Iterable[str], width: int) -> dict[str, np.ndarray]:
    """The vectors (float32 [width]) of those `words` that a GloVe text file has.

    A line is a token and `width` numbers, separated by single spaces; a first line of two whole numbers
    (word2vec's "count width") is passed over. Streams the file, so that memory goes with `words` and not with
    the file. Raises SelfflError with the line where it holds another number of numbers, or something that is
    none.
    """
    wanted, found, whole = set(words), {}, False
    try:
        with path.open("rb") as stream:
            for number, line in enumerate(stream, 1):
                line = line.rstrip()
                name, _, rest = line.partition(b" ")
                if number == 1 and name.isdigit() and rest.isdigit():
                    continue
                numbers = rest.count(b" ") + 1 if rest else 0
                if numbers != width:
                    if whole and numbers > width and not all(map(_is_number, rest.split(b" "))):
                        continue  # a token that itself holds spaces (GloVe 840B has some) is none of ours
                    raise SelfflError(
                        f"{path}: line {number} has {numbers} numbers where {width} are expected "
                        "(--embedding-dimensions); give that option the file's width, or bring a whole file"
                    )
                whole = True
                token = name.decode("utf-8", "replace")
                if token not in wanted or token in found:
                    continue
                try:
                    vector = np.array(rest.split(b" "), dtype=np.float32)
                except ValueError:
                    raise SelfflError(f"{path}: line {number} holds something that is no number") from None
                if not np.isfinite(vector).all():
                    raise SelfflError(f"{path}: line {number} holds a number that is not finite")
                found[token] = vector
    except OSError as error:
        raise SelfflError(f"{path}: cannot be read ({error.strerror}); give --embeddings a GloVe text file") from None
    if not whole:
        raise SelfflError(f"{path}: holds no word vectors; give --embeddings a GloVe text file")
    return found


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
