"""Attacks against known answers: separable losses, Gaussians with known epsilon, models with a known gradient."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from problems import class_shards, training
from scipy import stats

from selffl_cli.cli.main import main
from selffl_cli.errors import SelfflError
from selffl_cli.finished.audits.canary_users import canary_users, gaussian_epsilon
from selffl_cli.finished.audits.membership import attack, membership
from selffl_cli.finished.audits.sensitivity import group_gradients, sensitivity, task_gradients
from selffl_cli.finished.run import FinishedRun
from selffl_cli.runs.audits import read_audits
from selffl_cli.training.loop import Controls


def test_membership_by_hand() -> None:
    found = attack(np.array([0.1, 0.2, 0.5]), np.array([0.3, 0.6, 0.7, 0.9]))
    assert found["auc"] == pytest.approx(11 / 12)  # of 12 pairs only (0.5, 0.3) is the wrong way round
    assert found["tpr_at_1"] == pytest.approx(2 / 3)  # two members lie below every other loss
    both = np.random.default_rng(0).normal(size=(2, 4000))
    same = attack(*both)
    assert abs(same["auc"] - 0.5) < 0.03 and same["tpr_at_1"] < 0.03
    shifted = attack(both[0] - 1, both[1])
    assert shifted["auc"] == pytest.approx(stats.norm.cdf(1 / 2**0.5), abs=0.02)
    assert shifted["tpr_at_1"] == pytest.approx(stats.norm.cdf(stats.norm.ppf(0.01) + 1), abs=0.03)


@pytest.mark.parametrize("mean", [0.5, 1.0, 3.0])
def test_epsilon_of_two_gaussians_is_the_mechanisms(mean: float) -> None:
    """Equal variances: delta = Phi(mu/2 - eps/mu) - e^eps Phi(-mu/2 - eps/mu) (Balle and Wang 2018)."""
    epsilon = gaussian_epsilon(mean * 0.1, 0.1, 0.1, 1e-3)
    phi = stats.norm.cdf
    assert phi(mean / 2 - epsilon / mean) - np.exp(epsilon) * phi(-mean / 2 - epsilon / mean) == pytest.approx(
        1e-3, rel=0.02
    )


def test_the_same_gaussian_has_epsilon_zero_and_another_spread_has_some() -> None:
    assert gaussian_epsilon(0.0, 0.1, 0.1, 1e-5) == 0
    assert gaussian_epsilon(0.0, 0.2, 0.1, 1e-5) > 1
    assert gaussian_epsilon(1.0, 0.001, 0.1, 1e-5) == 200


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    shards = class_shards(folder / "s", clients=8, samples=6)
    import pyarrow as pa
    import pyarrow.parquet as parquet

    assert shards.clients.num_rows == 8 and pa and parquet
    for name, options in {
        "plain": {},
        "private": {"sampler": "poisson:q=0.5", "privacy": "user:clip=0.5,noise=0.05,canaries=40"},
    }.items():
        run = training(folder / name, shards, "fedavg", {"weighting": "equal"}, rounds=25, local_steps=8, batch_size=3,
                       learning_rate=0.3, eval_every=25, **options)  # fmt: skip
        run.config.data["path"] = str(shards.path)
        run.run()
    return folder


def test_audits_of_runs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("dp_accounting")
    data = ["--data", str(runs / "s")]
    assert main(["audit", "membership", str(runs / "plain"), str(runs / "private"), *data]) == 0
    assert main(["audit", "canary-users", str(runs / "private")]) == 0
    plain, private = read_audits(runs / "plain"), read_audits(runs / "private")
    assert 0.3 < plain["membership.personal.auc"] <= 1 and "membership.global.tpr_at_01" in plain
    assert private["canary-users.global.mean"] > 0.4 and private["canary-users.global.epsilon"] > 0
    assert private["canary-users.global.accounted"] > 100
    assert 0 <= private["canary-users.global.epsilon_low"] < private["canary-users.global.epsilon"]
    capsys.readouterr()
    assert main(["audit", "canary-users", str(runs / "plain")]) == 1
    assert "canaries=200" in capsys.readouterr().err
    assert main(["audit", "sensitivity", str(runs / "plain"), *data]) == 2
    assert "name no groups" in capsys.readouterr().err
    with pytest.raises(SelfflError, match="without canary users"):
        canary_users(FinishedRun.open(runs / "plain", runs / "s").folder)


def test_a_run_that_kept_no_models_is_refused(tmp_path: Path) -> None:
    shards = class_shards(tmp_path / "s")
    run = training(tmp_path / "r", shards, "fedavg", rounds=1, controls=Controls(keep="none"))
    run.run()
    with pytest.raises(SelfflError, match="kept no models to attack"):
        membership(FinishedRun.open(tmp_path / "r", tmp_path / "s"))


def test_sensitivity_by_finite_differences(runs: Path) -> None:
    run = FinishedRun.open(runs / "plain", runs / "s")
    theta = run.global_()
    assert theta is not None
    x = run.part("test").x[:3]
    found = task_gradients(run, theta, x)
    chances = run.model.outputs(theta, x).softmax(-1)
    for d in range(4):
        moved = x.clone()
        moved[:, d] += 1e-6
        change = (run.model.outputs(theta, moved).softmax(-1) - chances)[torch.arange(3), chances.argmax(-1)] / 1e-6
        np.testing.assert_allclose(found[:, d], change.abs().numpy(), atol=1e-5)


def test_group_gradients_by_hand() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 3))
    for groups in ((x[:, 0] > 0).astype(int), np.digitize(x[:, 0], [-0.5, 0.5])):
        fitted = LogisticRegression().fit(x, groups)
        found = group_gradients(fitted, x[:5])
        np.testing.assert_allclose(found.sum(1), 1)
        best = fitted.predict_proba(x[:5]).argmax(1)
        for d in range(3):
            moved = x[:5].copy()
            moved[:, d] += 1e-6
            slope = abs(fitted.predict_proba(moved) - fitted.predict_proba(x[:5]))[np.arange(5), best] / 1e-6
            scaled = slope / np.where(found[:, d] > 1e-9, found[:, d], np.nan)
            if d == 0:
                lengths = scaled
            np.testing.assert_allclose(scaled, lengths, rtol=1e-2)
        assert found[:, 0].min() > 0.5


def test_a_model_that_reads_the_group_is_sensitive_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shards = class_shards(tmp_path / "s", clients=6)
    run = training(tmp_path / "r", shards, "fedavg", model={"name": "softmax"}, rounds=1)
    run.run()
    scored = FinishedRun.open(tmp_path / "r", tmp_path / "s")
    table = scored.shards.clients
    groups = ["a", "b"] * 3
    scored.shards.__dict__["clients"] = table.set_column(table.column_names.index("group"), "group", [groups])
    for name in ("train", "test"):  # the group shows in the first input alone
        part = scored.shards.part(name).arrays["x"]
        offsets = scored.shards.part(name).offsets
        for client in range(6):
            part[offsets[client] : offsets[client + 1], 0] = 5.0 * (client % 2)
    weights = {
        "linear.weight": torch.zeros(3, 4, dtype=torch.float64),
        "linear.bias": torch.zeros(3, dtype=torch.float64),
    }
    found = {}
    for column in (0, 3):
        weights["linear.weight"].zero_()[0, column] = 0.3
        theta = scored.model.flatten(weights)
        monkeypatch.setattr(FinishedRun, "global_", lambda self, theta=theta: theta)
        monkeypatch.setattr(FinishedRun, "personal", lambda self: None)
        found[column] = sensitivity(scored)
    assert found[0]["global.relative"] > 2 > 0.6 > found[3]["global.relative"]
    assert found[0]["group.accuracy"] == 1.0 and found[0]["group.majority"] == 0.5
