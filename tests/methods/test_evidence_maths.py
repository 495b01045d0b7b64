"""The sums, the EM and the choices of `actperfl-eb` where everything is known: against brute force and the Gaussian."""

from __future__ import annotations

import numpy as np
import pytest

from selffl_cli.methods.evidence import (
    Candidates,
    Form,
    best,
    candidates,
    choose,
    em,
    nested_gains,
    place,
    preferred,
)

STRENGTHS = np.geomspace(1 / 3, 3000, 25)


@pytest.mark.parametrize(
    ("steps", "expected"), [(0, 0), (0.41, 0), (0.42, 1), (1.4, 1), (1.5, 2), (5.7, 3), (5.8, 4), (1e9, 5)]
)
def test_an_amount_is_rounded_in_the_logarithm(steps: float, expected: int) -> None:
    """Between 4 and 8 the border is sqrt(5 x 9) - 1 = 5.708; what lies beyond the grid takes its end."""
    assert place(np.array(steps), np.array([0, 1, 2, 4, 8, 16])) == expected


def test_a_half_is_rounded_downwards() -> None:
    """(1 + 5)² = 4 x 9: five lies half way between 3 and 8."""
    assert place(np.array(5.0), np.array([0, 3, 8])) == 1


def test_candidates_span_the_grid() -> None:
    options = candidates(2, STRENGTHS, np.array([0, 1, 2, 4, 8]), 50.0)
    assert len(options) == 2 * (1 + 25 * 7)
    places = options.places(np.array([50.0]))[0]
    for family in range(2):
        assert set(places[options.family == family]) == {0, 1, 2, 3, 4}
        assert (places[options.family == family] == 0).sum() == 1
    larger = options.places(np.array([50.0, 500.0]))
    assert (larger[1] >= larger[0]).all() and (larger[1] > larger[0]).any()


def test_of_equal_candidates_the_fewest_steps_then_the_largest_k_win() -> None:
    sums, steps, k = np.array([1.0, 1 + 5e-10, 0.9, 1.0]), np.array([8, 8, 0, 4]), np.array([1.0, 3.0, 9.0, 2.0])
    assert best(sums, steps, k) == 3
    assert best(sums[:3], steps[:3], k[:3]) == 1


def test_em_climbs_to_the_largest_likelihood() -> None:
    """pi of two and three candidates against a search over all shares on a grid."""
    rng = np.random.default_rng(0)
    for count in (2, 3):
        evidence = 2 * rng.normal(size=(40, count))
        pi, r = em(evidence)
        fine = np.linspace(0, 1, 101)
        shares = np.array([s for s in np.stack(np.meshgrid(*[fine] * (count - 1)), -1).reshape(-1, count - 1)
                           if s.sum() <= 1])  # fmt: skip
        shares = np.column_stack([shares, 1 - shares.sum(1)])
        likelihood = np.log(np.exp(evidence) @ shares.T).sum(0)
        assert np.abs(shares[likelihood.argmax()] - pi).max() < 0.02
        assert np.allclose(r.sum(1), 1) and np.allclose(r.mean(0), pi, atol=1e-3)
        np.testing.assert_allclose(r, np.exp(evidence) * pi / (np.exp(evidence) @ pi)[:, None])


def test_em_stays_in_numbers_where_likelihoods_are_far_below_the_smallest_float() -> None:
    evidence = np.array([[-1e5, -2e5], [-3e5, -1e5]])
    pi, r = em(evidence)
    assert np.allclose(pi, 0.5) and np.allclose(r, np.eye(2))


def test_one_client_takes_its_own_best_in_every_form() -> None:
    options = candidates(1, STRENGTHS, np.array([0, 1, 2, 4, 8]), 20.0)
    at = options.places(np.array([20.0]))
    evidence = -((np.array([0, 1, 2, 4, 8])[at] - 4.0) ** 2)
    for form in ("pooled", "posterior", "own"):
        assert choose(form, evidence, at, options).place.tolist() == [3]  # type: ignore[arg-type]


def test_identical_clients_take_one_amount() -> None:
    options = candidates(2, STRENGTHS, np.array([0, 1, 2, 4, 8]), 20.0)
    at = options.places(np.full(7, 20.0))
    evidence = np.tile(np.random.default_rng(0).normal(size=(1, len(options))), (7, 1))
    for form in ("pooled", "posterior", "own"):
        amounts = choose(form, evidence, at, options)  # type: ignore[arg-type]
        assert len({*zip(amounts.family.tolist(), amounts.place.tolist(), strict=True)}) == 1


class Gaussian:
    """Clients of the two-level Gaussian, sigma² = 1, theta_0 = 0: n samples in K folds; the amount is n/(n + k).

    `likelihood[out]`: log likelihood of every fold under each k by the mean of the samples outside the folds `out`.
    """

    FOLDS = 4

    def __init__(self, seed: int, clients: int, ratio: float, mixture: bool = False) -> None:
        rng = np.random.default_rng(seed)
        self.n = np.full(clients, 20) if mixture else rng.integers(4, 80, clients)
        inter = np.full(clients, ratio / 20)  # s0, over s_m = 1/20 at 20 samples
        if mixture:
            inter = inter * np.where(np.arange(clients) % 2, 10, 0.1)
        self.inter, self.theta = inter, rng.normal(size=clients) * np.sqrt(inter)
        size = np.stack([(self.n + self.FOLDS - 1 - f) // self.FOLDS for f in range(self.FOLDS)], 1)
        noise = rng.normal(size=(clients, self.FOLDS)) / np.sqrt(size)
        self.size, self.fold = size, self.theta[:, None] + noise  # samples and mean of each fold [M, K]
        self.mean = (self.fold * size).sum(1) / self.n

    def evidence(self, held: int, out: tuple[int, ...]) -> np.ndarray:
        """Of fold `held`, up to what does not depend on k [M, 25]."""
        left = [f for f in range(self.FOLDS) if f not in out]
        rest = self.size[:, left].sum(1)
        mean = (self.fold * self.size)[:, left].sum(1) / rest
        model = rest[:, None] / (rest[:, None] + STRENGTHS) * mean[:, None]
        return -self.size[:, [held]] * (self.fold[:, [held]] - model) ** 2 / 2

    def error(self, weight: np.ndarray) -> float:
        """Mean squared error of theta_m at these shrinkages [M], over that of the true ones."""
        oracle = self.n / (self.n + 1 / self.inter)
        return float(((weight * self.mean - self.theta) ** 2).mean() / ((oracle * self.mean - self.theta) ** 2).mean())

    def forms(self) -> dict[str, float]:
        evidence = sum(self.evidence(f, (f,)) for f in range(self.FOLDS))
        assert isinstance(evidence, np.ndarray)
        weight = self.n[:, None] / (self.n[:, None] + STRENGTHS)
        _, r = em(evidence)
        one, rows = best(evidence.sum(0), weight.sum(0), STRENGTHS), np.arange(len(self.n))
        return {
            "pooled": self.error(weight[:, one]), "posterior": self.error((r * weight).sum(1)),
            "mode": self.error(weight[rows, r.argmax(1)]), "own": self.error(weight[rows, evidence.argmax(1)]),
        }  # fmt: skip

    def score(self, held: int, weight: np.ndarray) -> np.ndarray:
        """As `evidence`, of the walk that leaves the fold out, at any shrinkage [M]."""
        left = [f for f in range(self.FOLDS) if f != held]
        mean = (self.fold * self.size)[:, left].sum(1) / self.size[:, left].sum(1)
        return -self.size[:, held] * (self.fold[:, held] - weight * mean) ** 2 / 2

    def gains(self) -> dict[Form, np.ndarray]:
        """Of the posterior mean over `pooled`, each fold's choice from walks that saw neither it nor their own."""
        gain = np.zeros(len(self.n))
        for f in range(self.FOLDS):
            evidence = sum(self.evidence(g, (f, g)) for g in range(self.FOLDS) if g != f)
            assert isinstance(evidence, np.ndarray)
            rest = (self.n - self.size[:, f])[:, None]
            weight = rest / (rest + STRENGTHS)
            one = best(evidence.sum(0), weight.sum(0), STRENGTHS)
            gain += self.score(f, (em(evidence)[1] * weight).sum(1)) - self.score(f, weight[:, one])
        return {"posterior": gain}


REPEATS = 30


@pytest.mark.parametrize(("ratio", "expected"), [(0.1, 1.0), (1.0, 1.0), (10.0, 1.0)])
def test_one_population_is_pooled(ratio: float, expected: float) -> None:
    """1,000 clients, sizes 4 to 79: pooled k is within 5 % of the oracle, then the posterior mean, then the mode."""
    found = [Gaussian(seed, 1000, ratio).forms() for seed in range(REPEATS)]
    mean = {form: np.mean([forms[form] for forms in found]) for form in found[0]}
    assert mean["pooled"] == pytest.approx(expected, abs=0.05)
    assert mean["pooled"] <= mean["posterior"] + 0.005 <= mean["mode"] + 0.01 <= mean["own"] + 0.02


@pytest.mark.parametrize(("ratio", "pooled", "posterior"), [(0.1, 1.32, 1.38), (1.0, 1.68, 1.46), (10.0, 1.30, 1.24)])
def test_in_a_mixture_the_posterior_mean_is_nearer(ratio: float, pooled: float, posterior: float) -> None:
    """Half of 1,000 clients of 20 samples with s0/10, half with 10 s0."""
    found = [Gaussian(seed, 1000, ratio, mixture=True).forms() for seed in range(REPEATS)]
    mean = {form: np.mean([forms[form] for forms in found]) for form in found[0]}
    assert mean["pooled"] == pytest.approx(pooled, abs=0.05)
    assert mean["posterior"] == pytest.approx(posterior, abs=0.05)


def test_cross_fitting_tells_a_mixture_from_one_population() -> None:
    """At s0 = s_m; of a mixture of 1,000 clients in one dimension two standard errors are not always exceeded."""
    one = [preferred(Gaussian(seed, 1000, 1.0).gains())[0] for seed in range(10)]
    two = [preferred(Gaussian(seed, 1000, 1.0, mixture=True).gains())[0] for seed in range(10)]
    assert one.count("pooled") == 10
    assert two.count("posterior") >= 6


def test_another_form_needs_a_gain_above_two_standard_errors() -> None:
    gain = np.array([1.0, 2.0, 3.0, 2.0])  # mean 2, standard error 0.408
    assert preferred({"posterior": gain - 1.0, "own": -gain})[0] == "posterior"
    assert preferred({"posterior": gain - 1.2, "own": -gain})[0] == "pooled"  # .8 < .816
    assert preferred({"posterior": gain, "own": gain + 1})[0] == "own"
    assert preferred({"posterior": gain[:1]})[0] == "pooled"  # one client tells nothing
    assert preferred({})[0] == "pooled"


def test_gains_are_those_of_a_plain_loop() -> None:
    """Two readings, chosen on one and scored on the other, client by client."""
    rng = np.random.default_rng(3)
    grid, n = np.array([0, 1, 2, 4, 8]), np.array([6, 30, 90])
    options = candidates(2, STRENGTHS[::6], grid, 40.0)
    columns = [(rng.normal(size=(3, 2, 5)), n), (rng.normal(size=(3, 2, 5)), n + 1)]
    found = nested_gains([([columns[0]], columns[1]), ([columns[1]], columns[0])], options, ("own",))
    gain = np.zeros(3)
    for (chosen, at), (score, size) in (columns, columns[::-1]):

        def steps(a: int, samples: int, options: Candidates = options) -> int:
            wanted = options.scale[a] * np.log(1 + samples / options.k[a])
            return int(np.abs(np.log1p(grid) - np.log1p(wanted)).argmin())

        table = [[chosen[m, options.family[a], steps(a, at[m])] for a in range(len(options))] for m in range(3)]
        total = np.sum(table, 0)
        walked = [[grid[steps(a, size[m])] for a in range(len(options))] for m in range(3)]
        one = max(range(len(options)), key=lambda a: (round(total[a], 7), -np.sum(walked, 0)[a], options.k[a]))
        for m in range(3):
            own = max(range(len(options)), key=lambda a: (round(table[m][a], 7), -walked[m][a], options.k[a]))
            gain[m] += score[m, options.family[own], steps(own, size[m])]
            gain[m] -= score[m, options.family[one], steps(one, size[m])]
    np.testing.assert_allclose(found["own"], gain, rtol=0, atol=1e-12)
