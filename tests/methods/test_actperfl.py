"""ActPerFL against an implementation of its own: numpy, float64, full batches, softmax regression.

The reference was written from the description of the method alone (a round in four steps, the options) and
shares no code with the package: not its gradients, its engine, its formulas or its memory.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from problems import Problem, mlp
from torch import nn

from selffl_cli.models.location import Location
from selffl_cli.models.softmax import Softmax

Arrays = list[np.ndarray]

DIMENSION, CLASSES, CLIENTS, BUDGET = 3, 3, 6, 3
# client 5 comes late, client 3 once alone (no pool), then beside one that never took part (no pool either)
ROUNDS = [
    [0, 1, 2, 3],
    [0, 2, 3],
    [1, 3],
    [3],
    [3, 4],
    [2, 3, 4],
    [0, 1, 2, 3, 4, 5],
    [1, 2, 5],
    [0, 1, 2, 3, 4, 5],
    [0, 4, 5],
]
DEFAULTS: dict[str, Any] = {
    "intra": "within-round", "inter": "literal", "pool": "participants", "steps": "calibrated",
    "rate": "fixed", "max_steps": 4.0, "max_rate": 4.0, "init": "leave-one-out", "aggregate": "uncertainty",
    "normaliser": "count", "fisher_prior": 1.0,
}  # fmt: skip


def make_data() -> tuple[Arrays, Arrays]:
    """Skewed labels, 1 to 9 samples a client, features of its own scale."""
    rng = np.random.default_rng(7)
    centres = 1.5 * rng.normal(size=(CLASSES, DIMENSION))
    x, y = [], []
    for size in (5, 1, 9, 4, 7, 3):
        labels = rng.choice(CLASSES, size, p=rng.dirichlet([0.7] * CLASSES))
        x.append((centres[labels] + rng.normal(size=(size, DIMENSION))) * rng.uniform(0.5, 2))
        y.append(labels.astype(np.int64))
    return x, y


class Reference:
    """One run of ActPerFL, as its description orders a round."""

    def __init__(self, theta: np.ndarray, x: Arrays, y: Arrays, eta: float, options: dict[str, Any]) -> None:
        self.x, self.y, self.eta, self.o = x, y, eta, {**DEFAULTS, **options}
        self.theta = theta.copy()
        self.s0: float | None = None
        self.rho: float | None = None
        self.calibrated_on = 0  # known participants of the round in which rho was solved
        self.model: dict[int, np.ndarray] = {}  # theta_m after its last training
        self.s: dict[int, float] = {}
        self.aggregate: dict[int, float] = {}  # shares in the aggregate that made theta
        self.h: dict[int, float] = {}
        self.samples: dict[int, tuple[Arrays, list[float]]] = {}  # parameter samples, their weights
        self.steps: dict[int, int] = {}
        self.clipped: dict[int, bool] = {}

    def gradient(self, m: int, theta: np.ndarray) -> np.ndarray:
        weights, bias = theta[:-CLASSES].reshape(CLASSES, DIMENSION), theta[-CLASSES:]
        logits = self.x[m] @ weights.T + bias
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        p[np.arange(len(p)), self.y[m]] -= 1
        return np.concatenate([(p.T @ self.x[m]).ravel(), p.sum(0)]) / len(p)

    def round(self, chosen: list[int]) -> None:
        o = self.o
        pool = [k for k in (chosen if o["pool"] == "participants" else range(CLIENTS)) if k in self.s]
        s0 = self.s0 or 0.0
        w = {k: 1 / (s0 + self.s[k]) for k in pool}
        a = {m: math.fsum(w[k] for k in pool if k != m) for m in chosen if m in self.s}
        ready = [m for m in a if a[m] > 0]  # took part before, and its pool is not empty
        gamma = {m: 1 / (1 / (a[m] * self.s[m]) + 1) if a[m] * self.s[m] else 0.0 for m in ready}

        if o["steps"] == "calibrated" and len(ready) >= 2 and len(ready) > self.calibrated_on:
            self.calibrated_on = len(ready)
            # mean of ln(1 + 1/(A s)) / -ln(1 - rho) = budget, over those that are ready
            self.rho = 1 - math.exp(-np.mean([math.log(1 + 1 / max(a[m] * self.s[m], 1e-12)) for m in ready]) / BUDGET)
        ends, starts, self.steps, self.clipped = {}, {}, {}, {}
        for m in chosen:
            start, steps, eta = self.theta, BUDGET, self.eta
            self.clipped[m] = False
            if m in ready:
                start = self.start(m, w[m], a[m])
                if o["rate"] == "matched":
                    wanted = self.s[m] * (1 - gamma[m] ** (1 / BUDGET))
                    eta = min(wanted, o["max_rate"] * self.eta)
                    self.clipped[m] = wanted > eta
                else:
                    steps, self.clipped[m] = self.count(m, gamma[m])
            ends[m], iterates = self.train(m, start, steps, eta)
            starts[m], self.steps[m] = start, steps
            self.s[m] = self.variance(m, iterates)
        self.server(chosen, ends)
        if o["steps"] == "curvature":
            for m in chosen:
                move = ends[m] - starts[m]
                h = (self.gradient(m, ends[m]) - self.gradient(m, starts[m])) @ move / (move @ move)
                if h > 0:
                    self.h[m] = (self.h[m] + h) / 2 if m in self.h else h

    def start(self, m: int, w: float, a: float) -> np.ndarray:
        if self.o["init"] == "global":
            return self.theta
        if self.o["init"] == "literal":
            return self.theta - w / a * (self.model[m] - self.theta)
        p = self.aggregate.get(m, 0.0)
        return self.theta if p == 1 else self.theta - p / (1 - p) * (self.model[m] - self.theta)

    def count(self, m: int, gamma: float) -> tuple[int, bool]:
        """l of Eqn 7, (1 - contraction)^l = gamma, clipped and rounded."""
        if self.o["steps"] == "fixed":
            return BUDGET, False
        if self.o["steps"] == "calibrated":
            contraction = self.rho
        elif self.o["steps"] == "literal":
            contraction = self.eta / self.s[m]
        else:
            contraction = self.eta * self.h[m] if m in self.h else None
        if contraction is None:
            return BUDGET, False
        wanted = 0.0 if contraction >= 1 else math.log(gamma) / math.log(1 - contraction)
        most = self.o["max_steps"] * BUDGET
        return round(min(max(wanted, 1), most)), not 1 <= wanted <= most

    def train(self, m: int, theta: np.ndarray, steps: int, eta: float) -> tuple[np.ndarray, Arrays]:
        iterates = [theta]
        for _ in range(steps):
            iterates.append(iterates[-1] - eta * self.gradient(m, iterates[-1]))
        return iterates[-1], iterates

    def variance(self, m: int, iterates: Arrays) -> float:
        """Eqn 11."""
        if self.o["intra"] == "fisher":  # one batch of n samples: n times the square of its mean gradient
            n = len(self.x[m])
            fisher = n * self.gradient(m, iterates[-1]) ** 2
            per = len(fisher) if self.o["normaliser"] == "entry" else 1
            return float((1 / (n * fisher + self.o["fisher_prior"])).sum() / per)
        if self.o["intra"] == "within-round":
            samples, weights = iterates, [1.0] * len(iterates)
        else:
            points, weights = self.samples.get(m, ([iterates[0]], [1.0]))
            forget = 0.5 if self.o["intra"] == "across-rounds" else 1.0
            samples, weights = [*points, iterates[-1]], [*(forget * v for v in weights), 1.0]
            self.samples[m] = samples, weights
        return self.spread(np.array(samples), np.array(weights))

    def spread(self, samples: np.ndarray, weights: np.ndarray) -> float:
        """Trace of the scatter matrix, by count unless the plain trace is asked for."""
        mean = weights @ samples / weights.sum()
        scatter = weights @ ((samples - mean) ** 2).sum(1)
        per = {"trace": 1.0, "count": weights.sum(), "entry": weights.sum() * samples.shape[1]}
        return float(scatter / per[self.o["normaliser"]])

    def server(self, chosen: list[int], ends: dict[int, np.ndarray]) -> None:
        """Eqns 12 and 10."""
        s0 = self.spread(np.array([ends[m] for m in chosen]), np.ones(len(chosen)))
        if self.o["inter"] == "corrected":
            before = s0 if self.s0 is None else self.s0
            s0 += float(np.mean([before * self.s[m] / (before + self.s[m]) for m in chosen]))
        self.s0 = s0
        weight = {
            "uncertainty": {m: 1 / (s0 + self.s[m]) for m in chosen},
            "equal": dict.fromkeys(chosen, 1.0),
            "samples": {m: float(len(self.x[m])) for m in chosen},
        }[self.o["aggregate"]]
        total = math.fsum(weight.values())
        self.aggregate = {m: weight[m] / total for m in chosen}
        self.theta = np.sum([self.aggregate[m] * ends[m] for m in chosen], axis=0)
        self.model.update(ends)


VARIED: list[dict[str, Any]] = [
    {},
    {"intra": "across-rounds"}, {"intra": "all-rounds"}, {"intra": "fisher"},
    {"inter": "corrected"},
    {"pool": "all"},
    {"steps": "literal"}, {"steps": "curvature"}, {"steps": "fixed"},
    {"rate": "matched"},
    {"init": "literal"}, {"init": "global"},
    {"aggregate": "equal"}, {"aggregate": "samples"},
    {"normaliser": "trace"}, {"normaliser": "entry"},
    {"max_steps": 1.5},
    {"steps": "literal", "normaliser": "trace"},
    {"steps": "literal", "intra": "fisher", "fisher_prior": 20.0},
    {"steps": "literal", "intra": "across-rounds", "pool": "all", "init": "literal"},
    {"rate": "matched", "intra": "all-rounds", "inter": "corrected", "aggregate": "equal"},
    {"rate": "matched", "intra": "fisher", "pool": "all", "max_rate": 1.2},
    {"steps": "curvature", "pool": "all", "inter": "corrected", "normaliser": "entry"},
    {"intra": "fisher", "normaliser": "entry", "init": "literal", "aggregate": "samples", "max_steps": 2.0},
    {"pool": "all", "init": "literal", "intra": "across-rounds", "inter": "corrected", "normaliser": "trace"},
]  # fmt: skip


def name(options: dict[str, Any]) -> str:
    return "-".join(f"{key}={value}" for key, value in options.items()) or "default"


@pytest.mark.parametrize("eta", [0.1, 1.0])
@pytest.mark.parametrize("options", VARIED, ids=name)
def test_every_option_equals_the_reference(options: dict[str, Any], eta: float) -> None:
    x, y = make_data()
    torch.manual_seed(3)
    problem = Problem(Softmax(DIMENSION, CLASSES), x, y, [BUDGET] * CLIENTS, learning_rate=eta)
    method, state = problem.method("actperfl", **options)
    reference = Reference(problem.model.start.numpy(), x, y, eta, options)
    for number, chosen in enumerate(ROUNDS, 1):
        state, cohort = problem.round(method, state, number, chosen)
        reference.round(chosen)
        where = f"round {number}"
        order = torch.argsort(cohort.clients)
        counted = cohort.counts.per_client
        assert counted["steps"][order].tolist() == [reference.steps[m] for m in chosen], where
        close(state.server["s0"], reference.s0, where)
        close(counted["variance"][order], [reference.s[m] for m in chosen], where)
        close(counted["weight"][order], [reference.aggregate[m] for m in chosen], where)
        close(cohort.counts.revealed["clipped"], np.mean([reference.clipped[m] for m in chosen]), where)
        close(method.global_(state), reference.theta, where)
        personal = [reference.model.get(m, reference.theta) for m in range(CLIENTS)]
        close(problem.personal(method, state), personal, where)


def close(value: Any, expected: Any, where: str) -> None:
    np.testing.assert_allclose(np.asarray(value), np.asarray(expected), rtol=1e-9, atol=1e-9, err_msg=where)


def test_two_rounds_by_hand() -> None:
    """Two clients, two parameters, loss |theta - z|²/2, one step of 0.5 a round; every number by hand."""
    z = [np.array([[1.0, 0.0]]), np.array([[0.0, 2.0]])]
    problem = Problem(Location(2), z, [np.ones(1)] * 2, [1, 1], learning_rate=0.5, task="gaussian")
    method, state = problem.method("actperfl")
    state, cohort = problem.round(method, state, 1)
    # ends (.5, 0) and (0, 1); s_m = |end|²/4; s0 = .0625 + .25; w = 8/3 and 16/9; shares .6 and .4
    close(cohort.counts.per_client["variance"], [0.0625, 0.25], "s_m")
    close(state.server["s0"], 0.3125, "s0")
    close(state.server["theta"], [0.3, 0.4], "theta")
    state, cohort = problem.round(method, state, 2)
    # A s = 1/9 and 2/3, so ln 10 and ln 2.5: rho = .8 makes the mean l one; l = 1.43 and .57, both one step;
    # each starts at the other's model and walks half-way to its z
    close(state.server["contraction"], math.log(5), "-ln(1 - rho)")
    close(cohort.counts.per_client["steps"], [1, 1], "l")
    close(cohort.counts.revealed["clipped"], 0.5, "clipped")
    close(problem.personal(method, state), [[0.5, 0.5], [0.25, 1.0]], "theta_m")
    close(cohort.counts.per_client["variance"], [0.125, 1.0625 / 4], "s_m")
    close(state.server["s0"], 0.078125, "s0")
    close(state.server["theta"], [14.25 / 35, 24 / 35], "theta")


@pytest.mark.parametrize("batch_size", [None, 1, 4, 5, 100])
def test_fisher_counts_each_batch_by_its_size(batch_size: int | None) -> None:
    """sum_i 1/(n F_ii + prior), F the mean over batches of b g²; a short last batch counts its own b."""
    x, y = make_data()
    problem = Problem(Softmax(DIMENSION, CLASSES), x, y, [BUDGET] * CLIENTS, batch_size=batch_size)
    method, state = problem.method("actperfl", intra="fisher", fisher_prior=2.0)
    state, cohort = problem.round(method, state, 1)
    ends = torch.from_numpy(problem.personal(method, state))
    for row, client in enumerate(cohort.clients.tolist()):
        size = batch_size or 100
        squares, batches = torch.zeros(12, dtype=torch.float64), -(-len(x[client]) // size)
        for step in range(batches):
            chosen = cohort.batches.indices("fisher", client, step)
            own = slice(None) if chosen is None else chosen
            xs, ys = torch.from_numpy(x[client][own]), torch.from_numpy(y[client][own])
            squares += len(ys) * problem.model.gradient(ends[client], xs, ys)[0] ** 2
        expected = (1 / (len(x[client]) * squares / batches + 2.0)).sum()
        close(cohort.counts.per_client["variance"][row], expected, f"client {client}")


def test_minibatches_use_the_main_stream_like_fedavg() -> None:
    """Its first round is FedAvg's to the bit: same start, same batches, same budget."""
    x, y = make_data()
    module = Softmax(DIMENSION, CLASSES)
    problem = Problem(module, x, y, [2, 1, 5, 3, 4, 2], batch_size=2)
    method, state = problem.method("actperfl")
    state, _ = problem.round(method, state, 1)
    fedavg, other = problem.method("fedavg")
    other, _ = problem.round(fedavg, other, 1)
    assert np.array_equal(problem.personal(method, state), problem.personal(fedavg, other))


@pytest.mark.parametrize("options", VARIED, ids=name)
@pytest.mark.parametrize("case", ["one client", "one sample", "constant features", "alone in every round"])
def test_degenerate_problems_stay_finite(options: dict[str, Any], case: str) -> None:
    rng = np.random.default_rng(0)
    clients = 1 if case == "one client" else 4
    size = 1 if case == "one sample" else 3
    x = [np.zeros((size, 2)) if case == "constant features" else rng.normal(size=(size, 2)) for _ in range(clients)]
    y = [rng.integers(0, 2, size) for _ in range(clients)]
    problem = Problem(Softmax(2, 2), x, y, [2] * clients, learning_rate=0.5)
    method, state = problem.method("actperfl", **options)
    for number in range(1, 6):
        chosen = [number % clients] if case == "alone in every round" else list(range(clients))
        before = state.server["theta"]
        state, cohort = problem.round(method, state, number, chosen)
        assert state.server["theta"].isfinite().all() and state.server["s0"].isfinite()
        assert all(figure.isfinite().all() for figure in cohort.counts.per_client.values())
        assert np.isfinite(problem.personal(method, state)).all()
        if len(chosen) == 1 and options.get("pool") != "all":  # A_m = 0: from theta, at the budget
            assert cohort.counts.per_client["steps"].tolist() == [2]
            change = state.server["theta"] - before
            own = problem.personal(method, state)[chosen[0]]
            close(own, before + change, "theta is the one model")
            iterate = before[None]
            for step in range(2):
                iterate = iterate - 0.5 * cohort.grad(iterate, "local", step)
            close(own, iterate[0], "two steps from theta")


def test_equal_weights_when_all_variances_are_zero() -> None:
    """Clients that do not move (zero gradients, s_m = 0) from one start (s0 = 0)."""
    x, y = [np.zeros((2, 2))] * 3, [np.array([0, 1])] * 3
    module = Softmax(2, 2)
    nn.init.zeros_(module.linear.bias)
    problem = Problem(module, x, y, [2] * 3)
    method, state = problem.method("actperfl")
    for number in (1, 2, 3):
        state, cohort = problem.round(method, state, number)
        close(cohort.counts.per_client["variance"], np.zeros(3), "s_m")
        close(cohort.counts.per_client["weight"], np.full(3, 1 / 3), "weights")


def test_a_tenth_of_the_clients_a_round_suffices_to_calibrate() -> None:
    """The contraction is solved in the first round with two known participants, and anew in a round with more of them;
    from the first on, Eqn 7 sets the steps of those that are known.

    30 clients, three a round: a round whose every participant is known is rare, and was waited for once.
    """
    problem = mlp(30, budget=[10] * 30, batch_size=4)
    method, state = problem.method("actperfl")
    rng = np.random.default_rng(3)
    taken_part: set[int] = set()
    known, active, solved, most = 0, 0, 0, 1
    for round_ in range(1, 41):
        chosen = sorted(int(m) for m in rng.choice(30, 3, replace=False))
        before = {m: float(state.clients.read("variance", torch.tensor([m]))) for m in chosen if m in taken_part}
        s0 = float(state.server["s0"])
        state, cohort = problem.round(method, state, round_, chosen)
        figures = cohort.counts.revealed
        assert figures["known"] == len(before)
        if len(before) > most:  # the mean l of the known ones is their mean budget
            solved, most = solved or round_, len(before)
            w = {m: 1 / (s0 + s) for m, s in before.items()}
            total = sum(w.values())
            shrinkage = [math.log(1 + 1 / ((total - w[m]) * s)) for m, s in before.items()]
            close(state.server["contraction"], np.mean(shrinkage) / 10, f"round {round_}")
        assert math.isnan(state.server["contraction"]) == (not solved)
        if solved:
            known, active = known + figures["known"], active + figures["by_uncertainty"]
        taken = dict(zip(cohort.clients.tolist(), cohort.counts.per_client["steps"].tolist(), strict=True))
        assert {steps for m, steps in taken.items() if m not in before} <= {10}
        taken_part |= set(chosen)
    assert solved < 15 and known > 40 and most == 3
    # a known client whose companions are all new has no A_m, and keeps the budget
    assert active >= 0.95 * known
