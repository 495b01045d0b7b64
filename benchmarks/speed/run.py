"""selffl's speed on CPU against named peers; writes results/speed by itself.

    python benchmarks/speed/install.py --venvs ../peers
    python benchmarks/speed/run.py --venvs ../peers [--tweets trainingandtestdata.zip]

Contenders take turns (A B C …, A B C …), so that a machine whose speed drifts treats them alike; ratios are taken
within a repeat and their median is quoted. Every contender gets the same data, start, clients and batch order, and the
loss of its final model is compared. A workload of your own is a line in workloads.py, then --workload NAME.
"""

from __future__ import annotations

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import floor
import numpy as np
import page
import torch
from contenders import CONTENDERS, OURS, Contender, command, prepare_ours
from measure import Measured, watch
from rich.console import Console
from workloads import WORKLOADS, Workload, make

from benchmarks.speed.rows import Row, final_loss

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
ROUNDS = {"W1": 10, "W1-ditto": 4}  # of the others 3
TIMEOUT = 600.0

console = Console()


def tweets(source: Path, folder: Path) -> tuple[Workload, dict[str, np.ndarray]]:
    """The real tweets dealt to 772 clients by `selffl prepare`, as a workload."""
    out = folder / "data"
    subprocess.run(
        [sys.executable, "-m", "selffl_cli", "prepare", "sent140", "--source", str(source), "--data", str(out),
         "--clients", "772", "--partition", "dirichlet:alpha=2,spread=0.6,min=26", "--embedding-dimensions", "50"],
        check=True, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    from selffl_cli.shards import Shards

    (path,) = out.iterdir()
    shards, arrays = Shards.open(path), dict[str, np.ndarray]()
    for name in ("train", "test"):
        part = shards.part(name)
        arrays |= {f"{name}_x": part.arrays["x"].numpy().astype(np.int32),
                   f"{name}_y": part.arrays["y"].numpy().astype(np.int64),
                   f"{name}_offsets": np.asarray(part.offsets)}  # fmt: skip
    arrays["embedding"] = shards.shared["embedding"].numpy()
    return WORKLOADS["W2-tweets"], arrays


def measured(contender: Contender, python: Path, folder: Path, rounds: int, repeat: int) -> tuple[Row | None, str]:
    """One run; None and the end of its output where it failed."""
    out = folder / f"{contender.name}-{repeat}.npz"
    environment = {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{HERE}", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1",
        "RAY_USAGE_STATS_ENABLED": "0", "FLWR_TELEMETRY_ENABLED": "0", "WANDB_MODE": "disabled",
        "GLOO_SOCKET_IFNAME": "lo", "TOKENIZERS_PARALLELISM": "false",
    }  # fmt: skip
    run: Measured = watch(command(contender, python, folder, rounds, out), environment, folder, TIMEOUT)
    # selffl scores all clients after its last round, so that round is left out of its time
    last = rounds - 1 if contender.name == OURS and "ditto" not in folder.name else rounds
    if run.code or last not in run.rounds or 1 not in run.rounds:
        return None, run.tail
    return Row(
        folder.name, repeat, contender.name, run.per_round(run.rounds, last), run.per_round(run.cpu, last),
        run.peak / 1e6, run.rounds[1], run.seconds, final_loss(contender, folder, out), run.others,
    ), ""  # fmt: skip


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venvs", type=Path, metavar="DIR", help="where install.py put the peers")
    parser.add_argument("--tweets", type=Path, metavar="FILE", help="Sentiment140's zip or CSV, for W2-tweets")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--flower-repeats", type=int, default=2, help="Flower, slowest to start, takes part in so many")
    parser.add_argument("--workload", action="append", choices=[*WORKLOADS], help="default: W1, W2, tweets and Ditto")
    parser.add_argument("--contender", action="append", choices=[c.name for c in CONTENDERS], help="default: all")
    parser.add_argument("--rounds", type=int, help="rounds of every run; default: a few, by workload")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="start no run after so many; default: none")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "speed", metavar="DIR")
    parser.add_argument("--no-floor", action="store_true", help="leave the profile and the arithmetic floor out")
    arguments = parser.parse_args()
    texts = "W2-tweets" if arguments.tweets else "W2-lengths"
    arguments.workload = arguments.workload or ["W1", "W2", texts, "W1-ditto"]
    if "W2-tweets" in arguments.workload and not arguments.tweets:
        parser.error("W2-tweets needs --tweets FILE")
    if arguments.rounds is not None and arguments.rounds < 3:
        parser.error("--rounds: three at least, as neither the first nor selffl's last is timed")
    return arguments


def turns(arguments: argparse.Namespace) -> Iterator[tuple[int, str, Contender]]:
    """Who runs what in which repeat, interleaved."""
    for repeat in range(1, arguments.repeats + 1):
        for name in arguments.workload:
            for contender in CONTENDERS:
                wanted = not arguments.contender or contender.name in arguments.contender
                late = contender.name == "flower" and repeat > arguments.flower_repeats
                if wanted and not late and WORKLOADS[name].method in contender.methods:
                    yield repeat, name, contender


def prepare(names: list[str], source: Path | None, place: Path) -> dict[str, Path]:
    folders = {}
    for name in names:
        workload, arrays = tweets(source, place) if name == "W2-tweets" and source else (WORKLOADS[name], None)
        folders[name] = place / name
        make(workload, folders[name], arrays)
        prepare_ours(folders[name], workload)
    return folders


def write_rows(rows: list[Row], path: Path) -> None:
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(Row.__dataclass_fields__), lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({k: round(v, 6) if isinstance(v, float) else v for k, v in asdict(row).items()})


def main() -> int:
    arguments = parse()
    torch.set_num_threads(1)
    rows: list[Row] = []
    failures: dict[str, str] = {}  # who failed at what is not asked again
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        folders = prepare(arguments.workload, arguments.tweets, Path(place))
        begun = time.monotonic()
        for repeat, name, contender in turns(arguments):
            if time.monotonic() - begun > 60 * arguments.minutes:
                failures[f"repeat {repeat} from {name}, {contender.shown} on"] = "the time allowed was over"
                break
            task = f"{contender.shown} on {name}"
            python = contender.python(arguments.venvs)
            if python is None:
                failures[task] = "not installed"
            if python is None or task in failures:
                continue
            row, error = measured(contender, python, folders[name], arguments.rounds or ROUNDS.get(name, 3), repeat)
            if row is None:
                failures[task] = (error.strip().splitlines() or ["it ended without a word"])[-1]
                console.print(f"[yellow]{task} failed:[/yellow]\n{error}", soft_wrap=True)
                continue
            rows.append(row)
            write_rows(rows, arguments.out / "runs.csv")
            console.print(
                f"{repeat}/{arguments.repeats} {name:10} {contender.shown:44} {row.seconds_a_round:7.3f} s a round, "
                f"CPU {row.cpu_seconds_a_round:7.3f} s, {row.peak_mb:5.0f} MB, first round "
                f"{row.first_round_seconds:5.1f} s, loss {row.final_loss:.6f}, others {row.others:.1f} cores",
                soft_wrap=True,
            )
        floors = {} if arguments.no_floor else {name: floor.measure(folder) for name, folder in folders.items()}
        page.write(arguments.out, rows, failures, floors, arguments)
    return 0


if __name__ == "__main__":
    sys.exit(main())
