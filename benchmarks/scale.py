"""What a round, a checkpoint and the start cost with 1,000 to 1,000,000 clients and the same cohort.

    python benchmarks/scale.py prepare [--data FOLDER]      # the shards: FedProx's Synthetic(1, 1), 4 samples a client
    python benchmarks/scale.py run [--out results/scale]    # one process a size and method; sizes interleaved
    python benchmarks/scale.py report [--out results/scale] # README.md, figure.png and figure.svg from the CSV

A run is `Training` as `selffl train` builds it: softmax 60→10 (610 parameters), 100 clients a round, one epoch,
batches of 2, an evaluation of 100 fixed clients at the start and the end, and a checkpoint every 10 rounds. The other
work of a machine hides in wall time, so CPU seconds stand beside it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SIZES = (1_000, 10_000, 100_000, 1_000_000)
METHODS = ("ditto", "actperfl")
ROUNDS, COHORT, EVERY, REPEATS = 60, 100, 10, 3
LIMIT = 512  # MiB of memory of its own (anonymous and shared) that a run may hold


def options(clients: int) -> dict[str, Any]:
    return {"clients": clients, "samples": 4, "seed": 0}


def prepare(data: Path) -> None:
    """The shards, each in a process of its own, so that its peak of memory is its own."""
    for clients in SIZES:
        begun = time.perf_counter()
        program = (
            "import resource; from data_prep.prepare import prepare; "
            f"prepare('synthetic', {options(clients)!r}, {str(data)!r}); "
            "used = resource.getrusage(resource.RUSAGE_SELF); "
            "print(used.ru_maxrss // 1024, round(used.ru_utime + used.ru_stime, 1))"
        )
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        memory, cpu = done.stdout.split()
        print(f"{clients:,} clients: {time.perf_counter() - begun:.1f} s, {cpu} CPU s, peak {memory} MiB", flush=True)


def memory() -> dict[str, float]:
    """MiB held now: anonymous, of files (pages the kernel may take back), shared."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return {name: int(lines[name].split()[0]) / 1024 for name in ("RssAnon", "RssFile", "RssShmem")}


def one(clients: int, method: str, data: Path, place: str, began: float) -> dict[str, Any]:
    """One run, measured from inside; `place` is where client rows lie, `began` when the process was started."""
    from data_prep.prepare import find_or_prepare
    from selffl_cli import methods, models
    from selffl_cli.config.experiment import TrainConfig
    from selffl_cli.config.run import ENGINE_VERSION, RunConfig
    from selffl_cli.runs.checkpoint import Checkpoints
    from selffl_cli.shards import Shards
    from selffl_cli.training.loop import Controls, Training

    shards = Shards.open(find_or_prepare("synthetic", options(clients), data))
    opened = time.time() - began
    resolved, version = methods.resolve(method, {})
    architecture, model_version = models.resolve({"name": "softmax"})
    config = RunConfig(
        experiment="scale", label=method, seed=0, data={"name": "synthetic", "hash": shards.hash},
        model=architecture, method=resolved,
        train=TrainConfig(
            rounds=ROUNDS, clients_per_round=COHORT, local_epochs=1, batch_size=2, learning_rate=0.01,
            eval_every=ROUNDS, eval_clients=100,
        ),
        versions={"engine": ENGINE_VERSION, "model": model_version, "method": version},
    )  # fmt: skip
    folder = data / f"run-{os.getpid()}"
    rounds: list[tuple[float, float]] = []
    saves: list[tuple[float, float, int]] = []
    held: list[dict[str, float]] = []
    seen: list[tuple[float, float]] = []  # since the start of the process, when a round was done
    since = [0.0, 0.0]

    def watch(line: dict[str, Any]) -> None:
        rounds.append((time.perf_counter() - since[0], time.process_time() - since[1]))
        held.append(memory())
        if held[-1]["RssAnon"] + held[-1]["RssShmem"] > LIMIT:
            sys.exit(f"{clients:,} clients, {method}: over {LIMIT} MiB in round {line['round']}")
        seen.append((time.time() - began, time.process_time()))
        controls.checkpoint_seconds = 0 if line["round"] % EVERY == 0 else 1e9
        since[:] = time.perf_counter(), time.process_time()

    real = Checkpoints.save

    def save(self: Checkpoints, *arguments: Any) -> None:
        before = self.log.bytes if self.log else 0
        start, start_cpu = time.perf_counter(), time.process_time()
        real(self, *arguments)
        manifest = max(self.folder.glob("manifest-*"))
        server = max(self.folder.glob("server-*"))
        size = (self.log.bytes if self.log else 0) - before + manifest.stat().st_size + server.stat().st_size
        saves.append((time.perf_counter() - start, time.process_time() - start_cpu, size))
        since[:] = time.perf_counter(), time.process_time()  # a round is timed without it

    Checkpoints.save = save  # type: ignore[method-assign]
    controls = Controls(keep="none", client_store=place, watch=watch, checkpoint_seconds=1e9)  # type: ignore[arg-type]
    training = Training(config, shards, folder, None, controls)
    since[:] = time.perf_counter(), time.process_time()
    try:
        training.run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    plain = rounds[2:-1]  # without the evaluations and the first round's warming up
    lasting = saves[1:]  # the first is of round 0, where nobody took part
    return {
        "clients": clients, "method": method, "store": place,
        "open_s": opened, "first_round_s": seen[1][0], "first_round_cpu_s": seen[1][1],
        "round_s": statistics.median(r[0] for r in plain), "round_cpu_s": statistics.median(r[1] for r in plain),
        "round_cpu_p10_s": quantile(plain, 0.1), "round_cpu_p90_s": quantile(plain, 0.9),
        "checkpoint_s": statistics.median(s[0] for s in lasting),
        "checkpoint_cpu_s": statistics.median(s[1] for s in lasting),
        "checkpoint_bytes": statistics.median(s[2] for s in lasting),
        "total_cpu_s": time.process_time(), "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        **{f"{name}_mib": max(h[name] for h in held) for name in held[0]},
    }  # fmt: skip


def quantile(rounds: list[tuple[float, float]], q: float) -> float:
    """Of the rounds' CPU seconds."""
    return sorted(r[1] for r in rounds)[round(q * (len(rounds) - 1))]


def run(data: Path, out: Path, repeats: int) -> None:
    """Every size and method, sizes interleaved, each in a process of its own; one that holds over LIMIT ends it."""
    out.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    if (out / "scale.csv").exists():  # goes on where it was stopped
        with open(out / "scale.csv", newline="") as file:
            rows = list(csv.DictReader(file))
    there = {(int(row["repeat"]), row["method"], int(row["clients"])) for row in rows}
    for repeat in range(repeats):
        for method in METHODS:
            for clients in SIZES:
                if (repeat, method, clients) in there:
                    continue
                words = [sys.executable, __file__, "one", str(clients), method, "--data", str(data)]
                done = subprocess.run([*words, "--began", str(time.time())], capture_output=True, text=True)
                if done.returncode:
                    sys.exit(done.stderr)
                row = {"repeat": repeat, **json.loads(done.stdout.splitlines()[-1])}
                print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True)
                rows.append(row)
                with open(out / "scale.csv", "w", newline="") as file:
                    writer = csv.DictWriter(file, list(row))
                    writer.writeheader()
                    writer.writerows(rows)
    from selffl_cli.machine.environment import describe

    content = {**describe("cpu", 1), "command": "python benchmarks/scale.py run", "load": os.getloadavg()}
    (out / "environment.json").write_text(json.dumps(content, indent=1) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["prepare", "run", "report", "one"])
    parser.add_argument("what", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("results/scale"))
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--began", type=float, default=time.time(), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.command == "prepare":
        prepare(given.data)
    elif given.command == "run":
        run(given.data, given.out, given.repeats)
    elif given.command == "one":
        print(json.dumps(one(int(given.what[0]), given.what[1], given.data, "disk", given.began)))
    else:
        from scale_report import report

        report(given.out)


if __name__ == "__main__":
    main()
