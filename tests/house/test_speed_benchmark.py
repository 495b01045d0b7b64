"""The speed benchmark: the same work is done by selffl and by the plain loop, and process trees are measured whole."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from selffl_cli.config.experiment import load_experiment
from selffl_cli.planning.plan import Request, plan
from selffl_cli.training.loop import Controls, Training

SPEED = Path(__file__).parents[2] / "benchmarks" / "speed"
pytestmark = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="process trees are read from /proc")


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SPEED))


@pytest.mark.usefixtures("speed")
@pytest.mark.parametrize("name", ["W1", "W2-lengths", "W1-ditto"])
def test_selffl_and_the_plain_loop_end_with_the_same_global_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import contenders
    import floor
    import plain_loop
    import workloads

    workload = replace(workloads.WORKLOADS[name], clients=5, least=3, most=14, cohort=3, learning_rate=0.05)
    workloads.make(workload, tmp_path)
    contenders.prepare_ours(tmp_path, workload)
    experiment = load_experiment(str(tmp_path / "experiment.toml"), {"train.rounds": 2})
    out = tmp_path / "ours"
    start = tmp_path / "start.safetensors"
    (run,) = plan(Request(experiment, data=tmp_path / "shards", init=start, runs=out))
    Training(run.config, run.shards, run.folder, run.start_model(), Controls(keep="global")).run()
    monkeypatch.setattr(sys, "argv", ["plain_loop.py", str(tmp_path), "2", str(tmp_path / "loop.npz")])
    plain_loop.main()

    ours, loop = contenders.CONTENDERS[:2]
    trained = contenders.final_model(ours, tmp_path, out)
    begun = contenders.final_model(loop, tmp_path, tmp_path / "start.npz")
    for mine, theirs, first in zip(
        trained, contenders.final_model(loop, tmp_path, tmp_path / "loop.npz"), begun, strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-6)
        assert not torch.equal(mine, first)
    samples, operations = floor.operations(workloads.Job(tmp_path, 0, tmp_path))
    assert samples > 0 and operations > samples * 1e5


def test_operations_of_a_sample_are_those_that_torch_counts(speed: None) -> None:
    """The convolutional network's step, against torch's own counter (multiplications and additions)."""
    import workloads
    from torch.utils.flop_counter import FlopCounterMode

    model = workloads.ImageNet()
    with FlopCounterMode(display=False) as counter:
        workloads.loss_of(model(torch.rand(10, 1, 28, 28)), torch.zeros(10, dtype=torch.int64)).backward()
    first, rest = 24 * 24 * 16 * 25, 8 * 8 * 32 * 400 + 512 * 128 + 128 * 10
    assert counter.get_total_flops() == 10 * 2 * (2 * first + 3 * rest)


def test_a_whole_process_tree_is_measured(speed: None, tmp_path: Path) -> None:
    """Children count, adopted ones too; the first round is timed from the start."""
    from measure import watch

    child = """x = bytearray(60_000_000); import time; t = time.process_time()
while time.process_time() - t < 0.6: pass
print('round 2/2', flush=True); time.sleep(3)  # seen at least once, however busy the machine is
"""
    program = (
        "import subprocess, sys; print('round 0/2'); print('round 1/2', flush=True);"
        f"subprocess.run([sys.executable, '-c', {child!r}], start_new_session=True)"
    )
    found = watch([sys.executable, "-c", program], {}, tmp_path, 60)
    assert found.code == 0 and sorted(found.rounds) == [0, 1, 2]
    assert found.rounds[2] - found.rounds[1] > 0.5
    assert found.cpu[2] - found.cpu[1] > 0.3
    assert found.peak > 60e6


def test_install_names_every_peer() -> None:
    run = subprocess.run([sys.executable, str(SPEED / "install.py"), "--help"], capture_output=True, text=True)
    assert run.returncode == 0 and all(name in run.stdout for name in ("pfl-research", "fluke", "flower"))
