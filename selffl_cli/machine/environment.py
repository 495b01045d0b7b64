"""Where and with what a run was made."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .. import __version__


def commit() -> tuple[str, bool]:
    """The checkout's commit and whether it has uncommitted changes; ("", False) outside one."""
    folder = Path(__file__).parents[2]
    try:
        if not (folder / ".git").exists():
            return "", False
        git = ["git", "-C", str(folder)]
        head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True)
        code = ["--", "selffl_cli", "data_prep", "experiments"]
        changed = subprocess.run(
            [*git, "status", "--porcelain", *code], capture_output=True, text=True, timeout=10, check=True
        )
        return head.stdout.strip(), bool(changed.stdout.strip())
    except (OSError, subprocess.SubprocessError):
        return "", False


def processor() -> str:
    """The CPU's name as the system gives it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def describe(device: str, workers: int, engine: str) -> dict[str, Any]:
    """The record written to environment.json when a run starts or resumes."""
    import numpy
    import torch

    head, dirty = commit()
    return {
        "selffl": __version__,
        "commit": head,
        "dirty": dirty,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "system": platform.platform(),
        "cpu": processor(),
        "cores": os.cpu_count(),
        "device": device if device == "cpu" else torch.cuda.get_device_name(device),
        "engine": engine,
        "deterministic": device == "cpu" or torch.are_deterministic_algorithms_enabled(),
        "workers": workers,
        "threads": 1,
        "command": ["selffl", *sys.argv[1:]],
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }
