"""actperfl-hb: where it lands on the two-level Gaussian, and the formulas of its steps and its aggregate."""

from __future__ import annotations

from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from problems import gaussian_shards, mlp, training

from selffl_cli.training.loop import Training

ETA = 0.01  # small, so that rounding to whole steps costs little
KNOWN = {"intra": "known", "inter": "known", "steps": "literal", "max_steps": 1000.0}


def gaussian(folder: Path, s0: float, s: float | list[float], rounds: int = 30, **options: object) -> Training:
    shards = gaussian_shards(folder / "shards", clients=8, s0=s0, s=s)
    settings = {"local_steps": 20, "learning_rate": ETA, "rounds": rounds, "eval_every": rounds}
    return training(folder / "run", shards, "actperfl-hb", {**KNOWN, **options}, **settings)


def outcome(run: Training) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Personal models, the global one, and the clients' observations z."""
    run.run()
    theta = run.method.global_(run.state)
    assert run.kept is not None and theta is not None
    return run.kept.numpy(), theta.numpy(), run.parts["train"].x.numpy()


@pytest.mark.parametrize("steps", ["literal", "curvature"])
def test_lands_on_the_posterior_mean(steps: str, tmp_path: Path) -> None:
    """Equal s_m, known variances: (z_m/s + mean(z)/s0)/(1/s + 1/s0). Curvature is exact on a quadratic."""
    personal, theta, z = outcome(gaussian(tmp_path, 2.0, 1.0, steps=steps))
    posterior = (z / 1.0 + z.mean(0) / 2.0) / (1 / 1.0 + 1 / 2.0)
    np.testing.assert_allclose(theta, z.mean(0), rtol=0, atol=1e-6)
    # l = ln(1/3)/ln(.99) = 109.3, taken as 109: the weight of the start is .3344 for .3333
    np.testing.assert_allclose(personal, posterior, rtol=0, atol=0.01)
    rounded = 0.99**109
    np.testing.assert_allclose(personal, (1 - rounded) * z + rounded * z.mean(0), rtol=0, atol=1e-6)


def test_small_s0_gives_the_global_mean(tmp_path: Path) -> None:
    """One step a round at least: a hundredth of the way to the client's own optimum."""
    personal, theta, z = outcome(gaussian(tmp_path, 1e-4, 1.0, rounds=60))
    spread = np.abs(z - z.mean(0)).max()
    assert np.abs(personal - theta).max() < 0.02 * spread
    start = np.zeros_like(theta)  # sixty single steps of a hundredth
    np.testing.assert_allclose(theta, z.mean(0) + 0.99**60 * (start - z.mean(0)), rtol=0, atol=1e-9)


def test_large_s0_gives_local_training(tmp_path: Path) -> None:
    personal, _, z = outcome(gaussian(tmp_path, 1e4, 1.0, rounds=2))
    np.testing.assert_allclose(personal, z, rtol=0, atol=1e-3 * np.abs(z).max())


def test_personalises_at_any_number_of_clients(tmp_path: Path) -> None:
    """Eqn 2's l falls with M; here it is the same for 4 and for 64 clients."""
    taken = []
    for clients in (4, 64):
        shards = gaussian_shards(tmp_path / f"shards{clients}", clients=clients, s0=1.0)
        settings = {"local_steps": 20, "learning_rate": ETA, "rounds": 2}
        run = training(tmp_path / f"run{clients}", shards, "actperfl-hb", dict(KNOWN), **settings)
        run.run()
        lines = run.folder.metrics()
        taken.append(set(lines[-1]["per_client"]["steps"]))
    assert taken == [{round(log(1 / 2) / log(1 - ETA))}] * 2


def test_steps_follow_the_formula_for_each_client(tmp_path: Path) -> None:
    """l = ln(gamma_m)/ln(1 - rho_m), gamma_m = s_m/(s0 + s_m), rho_m = eta/s_m; at most max_steps budgets."""
    s = [0.02, 0.1, 0.3, 0.7, 1.0, 2.0, 5.0, 400.0]
    run = gaussian(tmp_path, 2.0, s, rounds=2, max_steps=6.0)
    run.run()
    line = run.folder.metrics()[-1]
    wanted = [round(min(max(log(v / (2.0 + v)) / log(1 - ETA / v), 1), 120)) for v in s]
    got = dict(zip(line["per_client"]["client"], line["per_client"]["steps"], strict=True))
    assert [got[m] for m in range(8)] == wanted
    assert min(wanted) == 7 and max(wanted) == 120  # l → s0/eta for s_m large, a few steps for s_m near eta
    assert line["per_client"]["weight"] == pytest.approx([1 / 8] * 8)  # equal, whatever s_m


def test_calibrated_steps_average_to_the_budget() -> None:
    """rho is solved once, in the first round with two known participants (here all are), then kept."""
    problem = mlp(budget=[10] * 6, batch_size=4)
    method, state = problem.method("actperfl-hb")
    state, cohort = problem.round(method, state, 1)
    assert cohort.counts.per_client["steps"].tolist() == [10] * 6
    rho = []
    for round_ in (2, 3, 4):
        ids = torch.arange(6)
        s, s0 = state.clients.read("variance", ids), state.server["s0"]
        state, cohort = problem.round(method, state, round_)
        rho.append(float(1 - torch.exp(-state.server["contraction"])))
        wanted = torch.log(s / (s0 + s)) / log(1 - rho[0])
        if round_ == 2:
            assert float(wanted.mean()) == pytest.approx(10)
        taken = dict(zip(cohort.clients.tolist(), cohort.counts.per_client["steps"].tolist(), strict=True))
        assert [taken[m] for m in range(6)] == wanted.clamp(1, 40).round().long().tolist()
    assert rho[1] == rho[2] == rho[0]


def test_aggregate_is_equal_and_the_start_global() -> None:
    problem = mlp()
    method, state = problem.method("actperfl-hb")
    state, _ = problem.round(method, state, 1)
    theta = state.server["theta"]
    steps, ends = [], []
    state, cohort = problem.round(method, state, 2)
    counts = cohort.counts.per_client["steps"].tolist()
    for client, count in zip(cohort.clients.tolist(), counts, strict=True):
        row = theta[None].clone()
        for _ in range(count):
            row = row - problem.learning_rate * problem.cohort(state, [client]).grad(row)
        steps.append(count)
        ends.append(row[0])
    torch.testing.assert_close(state.server["theta"], torch.stack(ends).mean(0), rtol=0, atol=1e-12)
    assert len(set(steps)) > 1


def test_s0_is_corrected_for_shrinkage() -> None:
    """Eqn 12 plus the mean of s0 s_m/(s0 + s_m), the old s0 inside (its first value: Eqn 12's)."""
    problem = mlp(batch_size=4)
    method, state = problem.method("actperfl-hb")
    before = None
    for round_ in (1, 2, 3):
        state, _ = problem.round(method, state, round_)
        ids = torch.arange(6)
        ends, s = state.clients.read("theta", ids), state.clients.read("variance", ids)
        plain = float(((ends - ends.mean(0)) ** 2).sum() / 6)
        before = plain if before is None else before
        expected = plain + float((before * s / (before + s)).mean())
        before = float(state.server["s0"])
        assert before == pytest.approx(expected, rel=1e-9)
