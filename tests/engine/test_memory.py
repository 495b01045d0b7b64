"""Free memory: of control groups of both versions, seen from outside and inside a container, and by `ulimit -v`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from selffl_cli.machine import free_memory as memory
from selffl_cli.planning import cost as predict

GIB = 2**30


def group(folder: Path, names: tuple[str, str, str], limit: int | str, used: int, cached: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    maximum, current, inactive = names
    (folder / maximum).write_text(f"{limit}\n")
    (folder / current).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 1\n{inactive} {cached}\n")


@pytest.mark.parametrize(
    ("lines", "limited", "names"),
    [
        ("0::/job/step\n", "job/step", memory.V2),
        ("0::/job/step\n", "job", memory.V2),  # the group above has the limit
        ("0::/docker/a1\n", ".", memory.V2),  # a container sees its own group as the root
        ("5:devices:/\n4:memory:/job/step\n0::/\n", "memory/job", memory.V1),
        ("4:cpu,memory:/docker/a1\n", "memory", memory.V1),
    ],
)
def test_limits_of_control_groups(
    lines: str, limited: str, names: tuple[str, str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "GROUPS", tmp_path)
    monkeypatch.setattr(memory, "OWN", tmp_path / "own")
    (tmp_path / "own").write_text(lines)
    group(tmp_path / "job" / "step", memory.V2, "max", GIB, 0)
    group(tmp_path / "memory" / "job" / "step", memory.V1, 2**63 - 4096, GIB, 0)
    assert all(limit > 2**60 for limit, _ in memory.group_limits())
    group(tmp_path / limited, names, GIB // 8, GIB // 16, GIB // 32)
    assert memory.free_memory() == GIB // 8 - GIB // 16 + GIB // 32, "pages of files that go first count as free"
    group(tmp_path / limited, names, GIB // 8, GIB // 4, 0)
    assert memory.free_memory() == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the size of a process is read from /proc")
def test_a_limit_on_the_address_space_counts() -> None:
    program = (
        "import resource; from selffl_cli.machine.free_memory import free_memory; "
        f"resource.setrlimit(resource.RLIMIT_AS, ({GIB}, {GIB})); print(free_memory())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert 0.5 * GIB < float(done.stdout) < GIB


def test_more_processes_than_cores_or_memory_get_a_better_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predict, "available_cores", lambda: 4)
    monkeypatch.setattr(predict, "free_memory", lambda: 100.0 * GIB)
    assert predict.too_many(None, 4, 1) is None and predict.too_many(None, None, 8) is None
    assert predict.too_many(None, 6, 1) == "6 processes on 4 cores are slower than fewer; --workers 4 is better here"
    assert "8 processes on 4 cores" in (said := predict.too_many(4, 2, 4) or "") and "--jobs 2 is better" in said
    monkeypatch.setattr(predict, "free_memory", lambda: 0.5 * GIB)
    said = predict.too_many(None, 4, 1) or ""
    assert "4 processes on 0.5 GiB of free memory" in said and "--workers 2 is better" in said
