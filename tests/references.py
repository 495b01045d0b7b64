"""The baselines once more, in plain numpy with hand-written gradients: what the methods must equal.

Each takes a `Setting` and gives (global model [P], personal models [M, P]) after its rounds, full batches.
They share nothing with the methods: loops over clients, one vector at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

Vector = np.ndarray
Result = tuple[Vector, np.ndarray]
Models = dict[int, Vector]  # by client


@dataclass
class Setting:
    """Full-batch gradients, sizes and budgets of the clients; the clients of each round."""

    theta: Vector
    grads: list[Callable[[Vector], Vector]]
    sizes: Sequence[int]
    budget: Sequence[int]
    eta: float
    rounds: Sequence[Sequence[int]]

    def mean(self, models: Models, weighted: bool) -> Vector:
        weights = {m: self.sizes[m] if weighted else 1 for m in models}
        return np.average([models[m] for m in models], axis=0, weights=[weights[m] for m in models])


def mlp_gradient(x: np.ndarray, y: np.ndarray, hidden: int, classes: int) -> Callable[[Vector], Vector]:
    """Gradient of the mean cross-entropy of a network with one hidden layer of rectified units."""
    n, inputs = x.shape
    cuts = np.cumsum([hidden * inputs, hidden, classes * hidden])

    def gradient(vector: Vector) -> Vector:
        w1, b1, w2, b2 = np.split(vector, cuts)
        w1, w2 = w1.reshape(hidden, inputs), w2.reshape(classes, hidden)
        before = x @ w1.T + b1
        after = np.maximum(before, 0)
        logits = after @ w2.T + b2
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p[np.arange(n), y] -= 1
        p /= n
        back = (p @ w2) * (before > 0)
        return np.concatenate([(back.T @ x).ravel(), back.sum(0), (p.T @ after).ravel(), p.sum(0)])

    return gradient


def descend(w: Vector, grad: Callable[[Vector], Vector], rate: float, steps: int) -> Vector:
    for _ in range(steps):
        w = w - rate * grad(w)
    return w


def personal_or_global(theta: Vector, own: Models, clients: int) -> Result:
    """A client that never took part has the global model."""
    return theta, np.stack([own.get(m, theta) for m in range(clients)])


def fedprox(s: Setting, mu: float, weighted: bool = True) -> Result:
    """mu = 0 is FedAvg."""
    theta = s.theta
    own: Models = {}
    for chosen in s.rounds:
        new: Models = {}
        for m in chosen:
            w = theta
            for _ in range(s.budget[m]):
                w = w - s.eta * s.grads[m](w) - s.eta * mu * (w - theta)
            own[m] = new[m] = w
        theta = s.mean(new, weighted)
    return personal_or_global(theta, own, len(s.sizes))


def local(s: Setting) -> np.ndarray:
    own = {m: s.theta for m in range(len(s.sizes))}
    for chosen in s.rounds:
        for m in chosen:
            own[m] = descend(own[m], s.grads[m], s.eta, s.budget[m])
    return np.stack(list(own.values()))


def ditto(s: Setting, lam: float, weighted: bool) -> Result:
    theta = s.theta
    own: Models = {}
    for chosen in s.rounds:
        new: Models = {}
        for m in chosen:
            v = own.get(m, s.theta)
            for _ in range(s.budget[m]):
                v = v - s.eta * (s.grads[m](v) + lam * (v - theta))
            own[m] = v
            new[m] = descend(theta, s.grads[m], s.eta, s.budget[m])
        theta = s.mean(new, weighted)
    return personal_or_global(theta, own, len(s.sizes))


def perfedavg(s: Setting, alpha: float, variant: str, delta: float, adapt: int, weighted: bool) -> Result:
    theta = s.theta
    for chosen in s.rounds:
        new: Models = {}
        for m in chosen:
            f, w = s.grads[m], theta
            for _ in range(s.budget[m]):
                g = f(w - alpha * f(w))
                if variant == "HF":
                    g = g - alpha * (f(w + delta * g) - f(w - delta * g)) / (2 * delta)
                w = w - s.eta * g
            new[m] = w
        theta = s.mean(new, weighted)
    return theta, np.stack([descend(theta, grad, alpha, adapt) for grad in s.grads])


def pfedme(
    s: Setting, lam: float, inner: int, inner_rate: float, rounds: int, eta: float, b: float, start: str,
    weighted: bool,
) -> Result:  # fmt: skip
    theta = s.theta
    own: Models = {}
    for chosen in s.rounds:
        new: Models = {}
        for m in chosen:
            w, th = theta.copy(), theta.copy()
            for _ in range(rounds):
                if start == "local":
                    th = w.copy()
                for _ in range(inner):
                    th = th - inner_rate * (s.grads[m](th) + lam * (th - w))
                w = w - lam * eta * (w - th)
            own[m], new[m] = th, w
        theta = (1 - b) * theta + b * s.mean(new, weighted)
    return personal_or_global(theta, own, len(s.sizes))


def apfl(s: Setting, a: float, adaptive: bool, weighted: bool) -> Result:
    theta = s.theta
    own: Models = {}
    v_of: Models = {}
    a_of: dict[int, float] = {}
    for chosen in s.rounds:
        new: Models = {}
        for m in chosen:
            w, v, mix = theta, v_of.get(m, s.theta), a_of.get(m, a)
            for step in range(s.budget[m]):
                w = w - s.eta * s.grads[m](w)
                g = s.grads[m](mix * v + (1 - mix) * w)
                slope = float((v - w) @ g)
                v = v - s.eta * mix * g
                if adaptive and step == 0:
                    mix = min(max(mix - s.eta * slope, 0.0), 1.0)
            v_of[m], a_of[m], new[m], own[m] = v, mix, w, mix * v + (1 - mix) * w
        theta = s.mean(new, weighted)
    return personal_or_global(theta, own, len(s.sizes))


def fedrep(s: Setting, head: np.ndarray, head_steps: int | None, body_steps: int | None, weighted: bool) -> Result:
    """`head` [P] bool; steps None = the budget."""
    theta = s.theta
    head_of: Models = {}
    for chosen in s.rounds:
        new: Models = {}
        for m in chosen:
            w = theta.copy()
            w[head] = head_of.get(m, s.theta[head])
            for mask, steps in ((head, head_steps), (~head, body_steps)):
                for _ in range(s.budget[m] if steps is None else steps):
                    w = w - s.eta * s.grads[m](w) * mask
            head_of[m], new[m] = w[head], w
        theta = s.mean(new, weighted)
    personal = np.stack([theta] * len(s.sizes))
    for m, rows in head_of.items():
        personal[m, head] = rows
    return theta, personal
