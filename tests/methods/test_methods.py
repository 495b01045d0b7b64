"""Baselines against their formulas: one step by hand, rounds in plain numpy, identities between methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import references
import torch
from problems import CHOSEN, Problem, TwoParameters, logistic, mlp
from references import Result, Setting

from selffl_cli.methods.base import Method


def global_model(method: Method, state: Any) -> np.ndarray:
    theta = method.global_(state)
    assert theta is not None
    return theta.numpy()


# --- one step by hand: logistic regression on two inputs, one sample a client, eta = 0.5 --------------------

ETA = 0.5
START = np.array([0.3, -0.2])
SAMPLES = [(np.array([1.0, 2.0]), 1), (np.array([-1.5, 0.5]), 0), (np.array([0.5, -1.0]), 1)]
REPEATS = [1, 3, 2]  # n_m: the same sample so many times


def g(m: int, w: np.ndarray) -> np.ndarray:
    """The gradient of client m: (sigmoid(w·x) - y) x."""
    x, y = SAMPLES[m]
    return (1 / (1 + np.exp(-(w @ x))) - y) * x


def by_hand(steps: int = 1, head: tuple[str, ...] = ("top",)) -> Problem:
    x = [np.tile(x, (n, 1)) for (x, _), n in zip(SAMPLES, REPEATS, strict=True)]
    y = [np.full(n, y) for (_, y), n in zip(SAMPLES, REPEATS, strict=True)]
    return Problem(TwoParameters(*START, head=head).double(), x, y, [steps] * 3, learning_rate=ETA)


def check(problem: Problem, name: str, theta: np.ndarray, personal: Sequence[np.ndarray], **options: Any) -> None:
    method, state = problem.train(name, **options)
    np.testing.assert_allclose(global_model(method, state), theta, rtol=0, atol=1e-12)
    np.testing.assert_allclose(problem.personal(method, state), personal, rtol=0, atol=1e-12)


def samples_mean(rows: Sequence[np.ndarray]) -> np.ndarray:
    return (1 * rows[0] + 3 * rows[1] + 2 * rows[2]) / 6


def equal_mean(rows: Sequence[np.ndarray]) -> np.ndarray:
    return (rows[0] + rows[1] + rows[2]) / 3


def test_fedprox_by_hand() -> None:
    first = [START - 0.5 * g(m, START) for m in range(3)]  # the pull is zero at the start
    second = [w - 0.5 * (g(m, w) + 0.7 * (w - START)) for m, w in enumerate(first)]
    check(by_hand(2), "fedprox", samples_mean(second), second, mu=0.7)
    check(by_hand(2), "fedprox-e", equal_mean(second), second, mu=0.7)


def test_ditto_by_hand() -> None:
    w1 = [START - 0.5 * g(m, START) for m in range(3)]
    w2 = [w - 0.5 * g(m, w) for m, w in enumerate(w1)]
    v2 = [v - 0.5 * (g(m, v) + 2.0 * (v - START)) for m, v in enumerate(w1)]
    check(by_hand(2), "ditto-w", samples_mean(w2), v2, lam=2.0)
    check(by_hand(2), "ditto-e", equal_mean(w2), v2, lam=2.0)


def test_perfedavg_by_hand() -> None:
    inner = [START - 0.2 * g(m, START) for m in range(3)]
    theta = equal_mean([START - 0.5 * g(m, inner[m]) for m in range(3)])
    check(by_hand(), "perfedavg", theta, [theta - 0.2 * g(m, theta) for m in range(3)], alpha=0.2)

    def hessian_free(m: int) -> np.ndarray:
        outer = g(m, inner[m])
        d = (g(m, START + 1e-3 * outer) - g(m, START - 1e-3 * outer)) / 2e-3
        return START - 0.5 * (outer - 0.2 * d)

    theta = equal_mean([hessian_free(m) for m in range(3)])
    twice = [theta - 0.2 * g(m, theta) for m in range(3)]
    twice = [u - 0.2 * g(m, u) for m, u in enumerate(twice)]
    check(by_hand(), "perfedavg", theta, twice, alpha=0.2, variant="HF", adaptation_steps=2)


def test_hessian_free_is_the_gradient_of_the_adapted_loss() -> None:
    """HF approximates (I - alpha H(w)) grad f(w - alpha grad f(w)), H known for the logistic loss."""
    problem, alpha = by_hand(), 0.2
    method, state = problem.method("perfedavg", variant="HF", alpha=alpha, delta=1e-4)
    state, _ = problem.round(method, state, 1, [1])
    x, _ = SAMPLES[1]
    p = 1 / (1 + np.exp(-(START @ x)))
    hessian = p * (1 - p) * np.outer(x, x)
    exact = (np.eye(2) - alpha * hessian) @ g(1, START - alpha * g(1, START))
    np.testing.assert_allclose((START - global_model(method, state)) / ETA, exact, rtol=0, atol=1e-8)


def test_pfedme_by_hand() -> None:
    options = {"lam": 3.0, "inner_steps": 2, "inner_rate": 0.1, "outer_rate": 0.2, "b": 0.75}
    th1 = [START - 0.1 * g(m, START) for m in range(3)]
    th2 = [th - 0.1 * (g(m, th) + 3.0 * (th - START)) for m, th in enumerate(th1)]
    w = [START - 3.0 * 0.2 * (START - th) for th in th2]
    check(by_hand(), "pfedme", 0.25 * START + 0.75 * equal_mean(w), th2, **options)
    # the second of R = 2: from w_m, or from where the personal model was
    for start, begin in (("local", w), ("last", th2)):
        th3 = [th - 0.1 * (g(m, th) + 3.0 * (th - w[m])) for m, th in enumerate(begin)]
        th4 = [th - 0.1 * (g(m, th) + 3.0 * (th - w[m])) for m, th in enumerate(th3)]
        last = [w[m] - 3.0 * 0.2 * (w[m] - th) for m, th in enumerate(th4)]
        theta = 0.25 * START + 0.75 * samples_mean(last)
        check(by_hand(), "pfedme-w", theta, th4, **options, local_rounds=2, start=start)


def test_apfl_by_hand() -> None:
    a = 0.3
    w = [START - 0.5 * g(m, START) for m in range(3)]
    mixed = [g(m, a * START + (1 - a) * w[m]) for m in range(3)]  # v is still the start
    v = [START - 0.5 * a * mixed[m] for m in range(3)]
    personal = [a * v[m] + (1 - a) * w[m] for m in range(3)]
    check(by_hand(), "apfl", equal_mean(w), personal, a=a)
    moved = [a - 0.5 * (START - w[m]) @ mixed[m] for m in range(3)]
    assert all(0 < b < 1 and abs(b - a) > 1e-3 for b in moved)
    personal = [b * v[m] + (1 - b) * w[m] for m, b in enumerate(moved)]
    check(by_hand(), "apfl", equal_mean(w), personal, a=a, adaptive=True)


def test_fedrep_by_hand() -> None:
    def one(w: np.ndarray, m: int, parameter: int) -> np.ndarray:
        w = w.copy()
        w[parameter] -= 0.5 * g(m, w)[parameter]
        return w

    # two steps on the head, then one on the body
    ends = [one(one(one(START, m, 1), m, 1), m, 0) for m in range(3)]
    theta = samples_mean(ends)
    personal = [np.array([theta[0], end[1]]) for end in ends]
    check(by_hand(), "fedrep", theta, personal, head_steps=2)


def test_fedavg_ft_by_hand() -> None:
    theta = samples_mean([START - 0.5 * g(m, START) for m in range(3)])
    once = [theta - 0.5 * g(m, theta) for m in range(3)]
    check(by_hand(), "fedavg-ft", theta, once)
    check(by_hand(), "fedavg-ft", theta, [w - 0.5 * g(m, w) for m, w in enumerate(once)], steps=2)


# --- several rounds, full batches, partial participation, unequal budgets: plain numpy --------------------


def setting(problem: Problem) -> Setting:
    grads = [references.mlp_gradient(x, y, 5, 3) for x, y in zip(problem.x, problem.y, strict=True)]
    sizes = [len(y) for y in problem.y]
    return Setting(problem.model.start.numpy(), grads, sizes, problem.budget, problem.learning_rate, CHOSEN)


HEAD = np.arange(43) >= 25  # 5 x 4 + 5 parameters of the body, then 3 x 5 + 3
PFEDME = {"lam": 5.0, "inner_steps": 3, "inner_rate": 0.07, "local_rounds": 4, "b": 0.8, "start": "last"}
CASES: dict[str, tuple[str, dict[str, Any], Callable[[Setting], Result]]] = {
    "fedavg-w": ("fedavg-w", {}, lambda s: references.fedprox(s, 0.0)),
    "fedavg-e": ("fedavg-e", {}, lambda s: references.fedprox(s, 0.0, weighted=False)),
    "fedprox": ("fedprox", {"mu": 0.5}, lambda s: references.fedprox(s, 0.5)),
    "ditto-w": ("ditto-w", {}, lambda s: references.ditto(s, 1.0, True)),
    "ditto-e": ("ditto-e", {"lam": 0.1}, lambda s: references.ditto(s, 0.1, False)),
    "perfedavg": (
        "perfedavg",
        {"alpha": 0.3, "adaptation_steps": 2},
        lambda s: references.perfedavg(s, 0.3, "FO", 0, 2, False),
    ),
    "perfedavg-hf": (
        "perfedavg-w",
        {"alpha": 0.3, "variant": "HF"},
        lambda s: references.perfedavg(s, 0.3, "HF", 1e-3, 1, True),
    ),
    "pfedme": (
        "pfedme",
        {**PFEDME, "outer_rate": 0.1},
        lambda s: references.pfedme(s, 5.0, 3, 0.07, 4, 0.1, 0.8, "last", False),
    ),
    "pfedme-defaults": (
        "pfedme",
        {"outer_rate": 0.005, "local_rounds": 20},
        lambda s: references.pfedme(s, 15.0, 5, 0.09, 20, 0.005, 1.0, "local", False),
    ),
    "apfl": ("apfl", {}, lambda s: references.apfl(s, 0.5, False, False)),
    "apfl-adaptive": ("apfl-w", {"adaptive": True}, lambda s: references.apfl(s, 0.5, True, True)),
    "fedrep": ("fedrep", {}, lambda s: references.fedrep(s, HEAD, None, None, True)),
    "fedrep-steps": (
        "fedrep-e",
        {"head_steps": 4, "body_steps": 1},
        lambda s: references.fedrep(s, HEAD, 4, 1, False),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_rounds_equal_plain_numpy(case: str) -> None:
    name, options, reference = CASES[case]
    problem = mlp()
    method, state = problem.train(name, len(CHOSEN), CHOSEN, **options)
    theta, personal = reference(setting(problem))
    np.testing.assert_allclose(global_model(method, state), theta, rtol=0, atol=1e-12)
    np.testing.assert_allclose(problem.personal(method, state, len(CHOSEN)), personal, rtol=0, atol=1e-12)


def test_local_and_fine_tuning_equal_plain_numpy() -> None:
    problem = mlp()
    s = setting(problem)
    method, state = problem.train("local", len(CHOSEN), CHOSEN)
    np.testing.assert_allclose(problem.personal(method, state), references.local(s), rtol=0, atol=1e-12)
    method, state = problem.train("fedavg-ft", len(CHOSEN), CHOSEN)
    theta, _ = references.fedprox(s, 0.0)
    tuned = [references.descend(theta, s.grads[m], s.eta, s.budget[m]) for m in range(6)]
    np.testing.assert_allclose(problem.personal(method, state), tuned, rtol=0, atol=1e-12)


def test_adaptive_mixing_moves_and_stays_between_0_and_1() -> None:
    problem = mlp(learning_rate=3.0)
    _, state = problem.train("apfl", 4, adaptive=True)
    mix = state.clients.read("mix", torch.arange(6))
    assert ((mix >= 0) & (mix <= 1)).all() and (mix != 0.5).all()
    assert (mix == 0).any() or (mix == 1).any()  # at this rate some must have been held back


# --- identities, on small batches ---------------------------------------------------------------------------


def pair(one: str, other: str, options: dict[str, Any], **problem: Any) -> tuple[Any, ...]:
    """(global, personal) of two methods after three rounds on the same problem; float64, batches of 4."""
    out: list[Any] = []
    for name, own in ((one, options), (other, {})):
        p = mlp(batch_size=4, **problem)
        method, state = p.train(name, 3, **own)
        theta = method.global_(state)
        out += [None if theta is None else theta.numpy(), p.personal(method, state, 3)]
    return tuple(out)


def test_fedprox_without_pull_is_fedavg() -> None:
    theta, personal, avg_theta, avg_personal = pair("fedprox", "fedavg-w", {"mu": 0.0})
    assert np.array_equal(theta, avg_theta) and np.array_equal(personal, avg_personal)


@pytest.mark.parametrize("ending", ["-w", "-e"])
def test_global_models_of_ditto_and_apfl_are_those_of_fedavg(ending: str) -> None:
    for name in ("ditto", "apfl", "fedavg-ft"):
        theta, _, avg_theta, _ = pair(name + ending, "fedavg" + ending, {})
        assert np.array_equal(theta, avg_theta), name
    assert not np.array_equal(theta, pair("fedavg-e", "fedavg-w", {})[2 if ending == "-e" else 0])


def test_ditto_without_pull_trains_alone() -> None:
    _, personal, _, alone = pair("ditto", "local", {"lam": 0.0})
    assert np.array_equal(personal, alone)


def test_perfedavg_without_adaptation_is_fedavg_e() -> None:
    for variant in ("FO", "HF"):
        theta, _, avg_theta, _ = pair("perfedavg", "fedavg-e", {"alpha": 0.0, "variant": variant})
        assert np.array_equal(theta, avg_theta)


def test_apfl_at_its_ends() -> None:
    _, personal, _, avg_personal = pair("apfl-w", "fedavg-w", {"a": 0.0})
    assert np.array_equal(personal, avg_personal)
    _, personal, _, alone = pair("apfl", "local", {"a": 1.0})
    assert np.array_equal(personal, alone)


def test_fedrep_without_a_head_is_fedavg() -> None:
    results = []
    for name in ("fedrep", "fedavg-w"):
        problem = logistic(head=(), batch_size=4)
        method, state = problem.train(name, 3)
        results.append((global_model(method, state), problem.personal(method, state)))
    assert np.array_equal(results[0][0], results[1][0])
    assert np.array_equal(results[0][1], np.tile(results[1][0], (4, 1)))  # personal = shared body, all of it


def test_pfedme_keeps_its_personal_models_apart_from_the_local_ones() -> None:
    """One client, b = 1: the global model is w_m; the personal one is th, which is further along."""
    for start in ("local", "last"):
        problem = mlp(clients=1, batch_size=4)
        method, state = problem.train("pfedme", 3, outer_rate=0.02, start=start)
        w, th = global_model(method, state), problem.personal(method, state)[0]
        assert np.abs(w - th).max() > 1e-3
        before = th.copy()
        state.server["theta"] += 1.0
        assert np.array_equal(problem.personal(method, state)[0], before)
