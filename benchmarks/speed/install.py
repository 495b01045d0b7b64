"""Make one virtual environment a peer, from its published package: `python benchmarks/speed/install.py --venvs DIR`.

torch is the version in constraints.txt everywhere, installed first, so that all contenders run the same kernels.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

TORCH = "torch==2.13.0"


@dataclass(frozen=True)
class Peer:
    packages: tuple[str, ...]
    without_dependencies: tuple[str, ...] = ()  # where what a package asks for cannot or need not be had


PEERS = {
    "pfl-research": Peer(("pfl[pytorch]==0.6.0",)),
    "fluke": Peer(
        # torchvision pins the CUDA build of torch; fluke needs it to be importable, and pytest and coverage not at all
        packages=(
            "numpy", "pandas", "scikit-learn", "torchmetrics==1.9.0", "rich", "typer", "wandb", "datasets", "psutil",
            "tensorboard", "clearml", "matplotlib", "seaborn", "diskcache", "opacus", "cerberus", "hydra-core",
            "requests", "pyyaml", "omegaconf", "pillow",
        ),
        without_dependencies=("fluke-fl==0.8.1", "torchvision==0.28.0"),
    ),
    "flower": Peer(("flwr[simulation]==1.42.0",)),
}  # fmt: skip


def install(peer: Peer, folder: Path) -> None:
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    subprocess.run([*pip, TORCH], check=True)
    subprocess.run([*pip, TORCH, *peer.packages], check=True)
    if peer.without_dependencies:
        subprocess.run([*pip, "--no-deps", *peer.without_dependencies], check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--venvs", type=Path, required=True, metavar="DIR", help="where the environments go")
    parser.add_argument("--peer", action="append", choices=[*PEERS], help="one of them; default: all")
    arguments = parser.parse_args()
    failed = 0
    for name in arguments.peer or PEERS:
        print(f"{name}: {', '.join((*PEERS[name].packages, *PEERS[name].without_dependencies))}", flush=True)
        try:
            install(PEERS[name], arguments.venvs / name)
        except subprocess.CalledProcessError as error:
            print(f"{name}: failed with exit code {error.returncode}; the benchmark goes on without it")
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
