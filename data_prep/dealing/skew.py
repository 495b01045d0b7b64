"""Deals in which clients differ by their labels: a mix of all, or a few only."""

from __future__ import annotations

import heapq

import numpy as np

from selffl_cli.errors import UsageError

from .sizes import apportion, check_sizes, draw_dirichlet


def label_skew(labels: np.ndarray, sizes: np.ndarray, alpha: float, rng: np.random.Generator) -> np.ndarray:
    """Each client fills its size from its own mix of labels, drawn from Dir(alpha p), p the label shares.

    With K equally frequent labels this is the symmetric Dirichlet of alpha/K a label: the smaller alpha, the
    fewer labels a client has. Clients draw without replacement, in random order; when a label runs out, the
    rest of a client's mix is renormalised, and when nothing of its mix is left it takes from what is left.
    Hsu, Qi and Brown, "Measuring the Effects of Non-Identical Data Distribution" (2019), section 2. Returns
    the client index [n].
    """
    _, labels = np.unique(labels, return_inverse=True)
    counts = np.bincount(labels)
    left, taken = counts.copy(), np.zeros((len(sizes), len(counts)), np.int64)
    for client in rng.permutation(len(sizes)):
        mix = draw_dirichlet(alpha * counts / counts.sum(), rng)
        need = int(sizes[client])
        while need:
            wanted = np.where(left > 0, mix, 0.0)
            if wanted.sum() < 1e-12:
                drawn = rng.multivariate_hypergeometric(left, need, method="marginals")
            else:
                drawn = np.minimum(rng.multinomial(need, wanted / wanted.sum()), left)
            taken[client] += drawn
            left -= drawn
            need -= int(drawn.sum())
    return _deal_counts(labels, taken, rng)


def _deal_counts(labels: np.ndarray, taken: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Client index [n] when client m gets `taken[m, k]` samples of label k, which ones at random."""
    client = np.empty(len(labels), np.int64)
    for label in range(taken.shape[1]):
        rows = np.flatnonzero(labels == label)
        client[rows] = rng.permutation(np.repeat(np.arange(len(taken)), taken[:, label]))
    return client


def few_classes(
    labels: np.ndarray,
    clients: int,
    classes: int,
    rng: np.random.Generator,
    spread: float = 0.0,
    minimum: int = 1,
) -> np.ndarray:
    """Every client holds exactly `classes` labels, at least `minimum` samples of each; client index [n].

    A label has holders in proportion to its samples. What is above the minimum is shared out by log-normal
    weights, drawn for each holder and label apart and scaled so that the standard deviation of the sizes is
    `spread` times their mean (0: in equal shares). FedProx deals MNIST so (Li et al. 2020; its public code
    fixes the standard deviation of the log to 2 instead, and pairs neighbouring digits).
    """
    _, labels = np.unique(labels, return_inverse=True)
    counts = np.bincount(labels)
    check_sizes(len(labels), clients, classes * minimum)
    if classes > len(counts) or clients * classes < len(counts):
        raise UsageError(
            f"shards:classes={classes}: {clients} clients cannot share {len(counts)} labels so; "
            f"choose classes from {-(-len(counts) // clients)} to {len(counts)}"
        )
    held = _draw_holders(_holders(clients * classes, counts, clients, minimum), clients, classes, rng)
    excess = counts - minimum * held.sum(axis=0)
    weights = _holder_weights(held, excess, minimum, spread, rng)
    taken = np.zeros((clients, len(counts)), np.int64)
    for label in range(len(counts)):
        who = np.flatnonzero(held[:, label])
        taken[who, label] = minimum + apportion(int(excess[label]), weights[who, label])
    return _deal_counts(labels, taken, rng)


def _draw_holders(holders: np.ndarray, clients: int, classes: int, rng: np.random.Generator) -> np.ndarray:
    """Which client holds which label, bool [clients, K]: `holders[k]` hold label k, a client `classes`."""
    held = np.zeros((clients, len(holders)), bool)
    left = holders.copy()
    for done in range(clients):
        # labels that every client still to come must hold, then others in proportion to their open places
        forced = np.flatnonzero(left == clients - done)
        free = np.flatnonzero((left > 0) & (left < clients - done))
        more = classes - len(forced)
        chosen = rng.choice(free, more, replace=False, p=left[free] / left[free].sum()) if more else free[:0]
        held[done, forced] = held[done, chosen] = True
        left -= held[done]
    return held[rng.permutation(clients)]


def _holder_weights(
    held: np.ndarray, excess: np.ndarray, minimum: int, spread: float, rng: np.random.Generator
) -> np.ndarray:
    """Weights [clients, K] by which a label's `excess` is shared, 0 where it is not held."""
    normal = np.where(held, rng.standard_normal(held.shape), -np.inf)
    normal -= normal.max(axis=0)

    def weights(sigma: float) -> np.ndarray:
        return np.where(held, np.exp(sigma * np.where(held, normal, 0.0)), 0.0)

    def variation(sigma: float) -> float:
        shares = weights(sigma) / weights(sigma).sum(axis=0)
        sizes = (minimum * held + excess * shares).sum(axis=1)
        return float(sizes.std() / sizes.mean())

    low, high, most = 0.0, 1.0, 32.0  # at 32 all of a label's excess lies with one or two holders
    if spread > variation(most):
        raise UsageError(
            f"spread={spread:g}: with these labels and min the sizes can have {variation(most):.3g} at most; "
            "lower spread or min"
        )
    if spread <= variation(low):
        return weights(low)
    while variation(high) < spread:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if variation(middle) < spread else (low, middle)
    return weights(high)


def _holders(places: int, counts: np.ndarray, clients: int, minimum: int) -> np.ndarray:
    """Holders of each label: `places` in all, proportional to `counts` (Sainte-Laguë), from 1 to what can
    be.
    """
    highest = np.minimum(counts // minimum, clients)
    if highest.sum() < places or highest.min() < 1:
        raise UsageError("shards: too few samples of some labels for so many clients; ask for fewer")
    holders = np.ones(len(counts), np.int64)
    queue = [(-count / 3, label) for label, count in enumerate(counts)]
    heapq.heapify(queue)
    for _ in range(places - len(counts)):
        while holders[queue[0][1]] == highest[queue[0][1]]:
            heapq.heappop(queue)
        label = queue[0][1]
        holders[label] += 1
        heapq.heapreplace(queue, (-counts[label] / (2 * holders[label] + 1), label))
    return holders
