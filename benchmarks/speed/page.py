"""results/speed/README.md and its picture, from the rows of one measurement."""

from __future__ import annotations

import argparse
import platform
import subprocess
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import matplotlib
import torch
from contenders import CONTENDERS, OURS
from workloads import WORKLOADS

matplotlib.use("Agg")
from matplotlib import pyplot

if TYPE_CHECKING:
    from floor import Floor
    from run import Row

ROOT = Path(__file__).resolve().parent.parent.parent
COLOURS = {"loop": "#0072B2", "pfl-research": "#E69F00", "fluke": "#009E73", "flower": "#CC79A7"}  # Okabe and Ito
WHAT = {
    "W1": "FedAvg, 200 clients of 20 to 60 images 28x28, CNN of 80,202 parameters, 20 clients a round",
    "W2": "FedAvg, 772 clients of 30 to 120 texts of 25 tokens, two-layer LSTM of 100 units over frozen 50-d word "
    "vectors, 77 clients a round",
    "W2-lengths": "W2 with texts as long as 34,836 real tweets (a fifth of them 25 tokens, 14 on average)",
    "W2-tweets": "34,836 real tweets dealt to 772 clients, model and round as in W2",
    "W1-ditto": "Ditto on W1; after every round the global and every client's personal model are scored on all of its "
    "training and test samples",
}
# (workloads, peer, at least so many times its round's time)
GOALS = [
    (("W1",), "pfl-research", 1.3),
    (("W2-lengths", "W2-tweets"), "pfl-research", 2.0),
    (("W1", "W2", "W2-lengths", "W2-tweets"), "fluke", 2.0),
    (("W1", "W2", "W2-lengths", "W2-tweets"), "loop", 2.0),
    (("W1", "W2", "W2-lengths", "W2-tweets"), "flower", 5.0),
    (("W1-ditto",), "fluke", 4.0),
    (("W1-ditto",), "loop", 4.0),
]
FIRST_ROUND, PEAK = 3.0, 600.0
BUSY = 0.2  # cores kept busy by other programs


class Results:
    """Rows by workload and contender."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self.workloads = [name for name in WORKLOADS if any(row.workload == name for row in rows)]

    def of(self, workload: str, contender: str) -> list[Row]:
        return [row for row in self.rows if (row.workload, row.contender) == (workload, contender)]

    def median(self, workload: str, contender: str, figure: str) -> float:
        return median(getattr(row, figure) for row in self.of(workload, contender))

    def ratios(self, workload: str, contender: str, figure: str) -> list[float]:
        """The contender's figure over selffl's, repeat by repeat."""
        ours = {row.repeat: getattr(row, figure) for row in self.of(workload, OURS)}
        theirs = self.of(workload, contender)
        return [getattr(row, figure) / ours[row.repeat] for row in theirs if row.repeat in ours]


def ratio(values: list[float]) -> str:
    if not values:
        return "not measured"
    return f"{median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + " --- |" * len(header)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def workload_table(results: Results, name: str) -> str:
    body = []
    for contender in CONTENDERS:
        if not results.of(name, contender.name):
            continue
        figure: Callable[[str], float] = lambda key, own=contender.name: results.median(name, own, key)  # noqa: E731
        ours = contender.name == OURS
        body.append([
            contender.shown, f"{figure('seconds_a_round'):.3f}", f"{figure('cpu_seconds_a_round'):.3f}",
            f"{figure('peak_mb'):.0f}", f"{figure('first_round_seconds'):.1f}", f"{figure('final_loss'):.5f}",
            "1" if ours else ratio(results.ratios(name, contender.name, "seconds_a_round")),
            "1" if ours else ratio(results.ratios(name, contender.name, "cpu_seconds_a_round")),
        ])  # fmt: skip
    header = ["simulator", "s a round", "CPU s a round", "peak MB", "first round s", "final loss", "time, selffl = 1",
              "CPU, selffl = 1"]  # fmt: skip
    return table(header, body)


def goals_table(results: Results) -> str:
    """Times are judged only where the machine did nothing else."""
    busy = median(row.others for row in results.rows) > BUSY
    in_time: Callable[[bool], str] = (lambda met: "machine too busy to say") if busy else _met
    body = []
    for names, peer, least in GOALS:
        for name in names:
            values = results.ratios(name, peer, "seconds_a_round") if name in results.workloads else []
            if values:
                body.append([f"{name}: {least:g} times {peer}", ratio(values), in_time(median(values) >= least)])
    for name in results.workloads:
        if results.of(name, OURS):
            first, peak = (results.median(name, OURS, figure) for figure in ("first_round_seconds", "peak_mb"))
            body.append(
                [f"{name}: first round under {FIRST_ROUND:g} s", f"{first:.1f} s", in_time(first < FIRST_ROUND)]
            )
            body.append([f"{name}: under {PEAK:g} MB", f"{peak:.0f} MB", _met(peak < PEAK)])
    return table(["goal", "measured", ""], body)


def _met(value: bool) -> str:
    return "met" if value else "not met"


WHY = """\
What can be won lies outside the kernels, which are torch's and the same for all. Where they take three quarters of the
CPU seconds, as for the LSTM, a peer with as many processes cannot be twice as slow, and one process against two is at
most two times as slow; only work that a peer does and we do not (scoring models that did not change) gives more."""


def floor_section(results: Results, floors: dict[str, Floor]) -> str:
    if not floors:
        return "Not measured in this record."
    body, notes = [], []
    for name, own in floors.items():
        body.append([
            name, f"{own.samples:.0f}", f"{own.gflop:.1f}", f"{own.large_rate:.0f}", f"{own.floor:.3f}",
            f"{own.seconds:.3f}", f"{own.seconds / own.floor:.1f}",
        ])  # fmt: skip
        products = ", ".join(f"{shape}: {rate:.0f}" for shape, rate in own.own_rates.items())
        operators = ", ".join(f"`{key}` {share:.0%}" for key, share in own.operators)
        notes.append(f"* **{name}**: {operators}. Its own products run at (GFLOP/s) {products}.")
    header = ["workload", "samples a round", "GFLOP a round", "GFLOP/s, 768³", "floor s", "selffl CPU s", "over floor"]
    return (
        "One process, one round: the operations of training (forward, and two products backward for each of its "
        "products; padding not counted), what they would take at the rate of one large matrix product on one core, "
        "and the CPU seconds of selffl's engine.\n\n" + table(header, body) + "\n\nThe operators that took the most "
        "CPU time, as shares of the round:\n\n" + "\n".join(notes) + "\n\n" + WHY
    )


def picture(results: Results, path: Path) -> None:
    """Time of a round against selffl's, with the range over the repeats."""
    figure, axes = pyplot.subplots(figsize=(7.5, 1.2 + 0.9 * len(results.workloads)), layout="constrained")
    peers = [c for c in CONTENDERS if c.name != OURS]
    for number, name in enumerate(results.workloads):
        for place, peer in enumerate(peers):
            values = results.ratios(name, peer.name, "seconds_a_round")
            if not values:
                continue
            y, middle = number + (place - 1.5) * 0.2, median(values)
            axes.barh(y, middle, 0.18, color=COLOURS[peer.name], label=peer.shown)
            axes.plot([min(values), max(values)], [y, y], color="black", linewidth=1)
            axes.annotate(
                f"{middle:.1f}", (max(values), y), (4, 0), textcoords="offset points", va="center", fontsize=7
            )
    axes.axvline(1, color="black", linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(results.workloads)), results.workloads)
    axes.invert_yaxis()
    axes.set_xlabel("time of a round, selffl with 2 workers = 1")
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(handles.values(), handles.keys(), fontsize=8)
    figure.savefig(path, dpi=150, metadata={"Software": None})
    pyplot.close(figure)


def processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def commit() -> str:
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    dirty = subprocess.run(["git", "status", "--porcelain", "selffl_cli", "benchmarks"], cwd=ROOT, capture_output=True)
    return (found.stdout.strip() or "unknown") + (" with changes" if dirty.stdout.strip() else "")


def write(
    out: Path, rows: Sequence[Row], failures: dict[str, str], floors: dict[str, Floor], arguments: argparse.Namespace
) -> None:
    results = Results(rows)
    if not rows:
        raise SystemExit("no run finished; nothing written")
    picture(results, out / "speed.png")
    repeats = max(row.repeat for row in rows)
    others = [row.others for row in rows]
    cores = torch.multiprocessing.cpu_count()
    load = f"other programs kept {median(others):.1f} cores busy meanwhile (up to {max(others):.1f})"
    if median(others) > BUSY:
        load = f"**a record from a busy machine: {load}. Only its CPU ratios and its memory tell something**"
    command = f"python benchmarks/speed/run.py --venvs ../peers --repeats {arguments.repeats}"
    command += f" --flower-repeats {arguments.flower_repeats}"
    command += f" --tweets {arguments.tweets.name}" if arguments.tweets else ""
    command += f" --rounds {arguments.rounds}" if arguments.rounds else ""
    command += f" --minutes {arguments.minutes:g}" if arguments.minutes < float("inf") else ""
    command += "".join(f" --workload {name}" for name in arguments.workload)
    command += "".join(f" --contender {name}" for name in arguments.contender or [])
    sections = "\n\n".join(
        f"### {name}\n\n{WHAT.get(name) or f'`{WORKLOADS[name]}`'}.\n\n{workload_table(results, name)}"
        for name in results.workloads
    )
    failed = "\n".join(f"* {name}: {why}" for name, why in failures.items())
    (out / "README.md").write_text(
        f"""# Speed on CPU against other simulators

{processor()}, {cores} cores, torch {torch.__version__} in every environment, commit {commit()},
{datetime.now(UTC):%Y-%m-%d}; {load}. Made by

```sh
python benchmarks/speed/install.py --venvs ../peers
{command}
```

Repeats, all contenders in turn: {repeats}; Flower, slowest to start, in the first {arguments.flower_repeats}. Medians.
A ratio is taken within a repeat, and its median is given with the range. Every simulator gets the same data, start,
clients of each round and batch order; the loss of its final global model on held-out samples, in float64, shows that it
did the same work. A round is the whole round: choosing, training, averaging. Its time is the mean from the end of the
first to the end of the last; memory is the sum over the process tree, shared pages counted once; the first round is
timed from the shell. Every run is a line of [runs.csv](runs.csv).

![Time of a round, selffl = 1](speed.png)

## Goals

{goals_table(results)}

## Figures

{sections}

## Floor and profile

{floor_section(results, floors)}

## What was done for each

* selffl: `selffl train` from the shell with two workers; it also writes its metrics, checkpoints and record. Its model
  of texts cuts a batch at its longest text; its small CNN works channels last. Its last round ends with the scores of
  all clients and is left out of its time (not in Ditto, where every contender scores after every round).
* plain loop: one thread, `torch.optim.SGD`, a deep copy of the model for each client.
* pfl-research: its simulated backend, two processes under `torchrun`, clients dealt by their samples.
* fluke: its own clients, server and Ditto with our batches; scored with accuracy alone. The CPU build of torch has no
  matching torchvision, whose two operators the driver therefore names before fluke imports it.
* Flower: its simulation engine on Ray, two actors of one core; as many nodes as clients in a round. It has no Ditto.
* pfl-research has no Ditto of this kind either, so both are left out of W1-ditto.
{f"{chr(10)}Failed or left out:{chr(10)}{chr(10)}{failed}{chr(10)}" if failed else ""}""",
        encoding="utf-8",
    )
