"""Everything that is claimed of a GPU, measured by one command on a machine that has one.

    python benchmarks/gpu.py                     # on CUDA; writes results/gpu/README.md and figures.json
    python benchmarks/gpu.py --tweets FOLDER …   # with the shards of `selffl prepare sent140`, one a seed
    python benchmarks/gpu.py --device cpu --quick --out /tmp/gpu   # the same program, small: does it run?

First that both engines agree on this device, for every model and every method; then the two workloads, a round of the
sequential engine and one of the stacked engine in turns; the forms of LSTM cell and convolution, with and without
captured steps; what TF32 and bfloat16 do to time and accuracy; and a part of the tweets figure, one seed after another
and five stacked, with the sums from it.
Needs what training needs: no package for audio, pictures or downloads.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from statistics import mean, median, pstdev
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from selffl_cli.config.experiment import load_experiment
from selffl_cli.engine.cohort import RoundConfig
from selffl_cli.engine.evaluation import sample_scores
from selffl_cli.engine.flat import DevicePart, FlatModel
from selffl_cli.engine.parallel.collective import Collective
from selffl_cli.engine.sequential import SequentialCohort
from selffl_cli.engine.stacked.chunk import Runner
from selffl_cli.engine.stacked.cuda import set_precision
from selffl_cli.engine.stacked.engine import Stacked, StackedCohort, stacked_engine
from selffl_cli.engine.stacked.joint_seeds import SharedSeat, Together
from selffl_cli.engine.stacked.layers import StackedConv2d
from selffl_cli.engine.stacked.lstm import StackedLSTMLayers, fused_cell, plain_cell
from selffl_cli.engine.store import ClientStore
from selffl_cli.machine.devices import default_device
from selffl_cli.methods import METHODS, build, resolve
from selffl_cli.models.cnn import CNN
from selffl_cli.models.cnn11 import CNN11
from selffl_cli.models.cnn_cifar import CifarCNN
from selffl_cli.models.lstm import StackedLSTM
from selffl_cli.models.task import TASKS
from selffl_cli.planning.plan import PlannedRun, Request, plan
from selffl_cli.shards import Part, ShardData, write_shards
from selffl_cli.training.engine_timing import CASES, Bench
from selffl_cli.training.loop import Controls, Training

GOALS = {"W1": 10, "W2": 20}  # times the sequential engine on the same GPU
Rows = list[list[str]]
Draw = Callable[[int], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Kind:
    """FedAvg on made-up data: clients of `least` to `most` samples, `cohort` of them a round, one local epoch."""

    clients: int
    cohort: int
    least: int
    most: int
    rate: float
    make: Callable[[np.random.Generator, int], tuple[nn.Module, Draw]]
    batch: int = 10

    def part(self, times: int) -> Kind:
        """A part of it, in the same shape: a tenth for a quick look, several times the clients a round, …"""
        return replace(self, clients=max(2, self.clients // times), cohort=max(2, self.cohort // times))


class Workload:
    """One of KINDS from a seed, on a device."""

    def __init__(self, kind: Kind, device: torch.device, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, kind.clients])
        sizes = rng.integers(kind.least, kind.most + 1, kind.clients)
        module, draw = kind.make(rng, seed)
        self.kind, self.parts = kind, dict[str, DevicePart]()
        for part, counts in (("train", sizes), ("test", np.full(kind.clients, 10))):
            x, y = draw(int(counts.sum()))
            offsets = np.concatenate([[0], np.cumsum(counts)])
            self.parts[part] = DevicePart(Part({"x": x, "y": y}, offsets), device, torch.float32)
        self.flat = FlatModel(module, TASKS["classification"], device, torch.float32)
        self.budget, self.seed, self.number = -(-sizes // kind.batch), seed, 0
        self.method = build(resolve("fedavg", {})[0])
        self.state = self.method.init(self.flat.start, ClientStore(kind.clients, device))

    def engine(self, form: Any = None, captured: bool = True) -> Stacked:
        """The stacked engine, its convolution or LSTM cell in this form if one is named."""
        engine = stacked_engine(self.flat, self.parts["train"], self.kind.batch)
        engine.runner = engine.runner if captured else Runner()
        assert engine.model.module is not None
        for layer in engine.model.module.modules() if form else ():
            if isinstance(layer, StackedConv2d):
                layer.form = form
            if isinstance(layer, StackedLSTMLayers):
                layer.cell = form
        return engine

    @torch.no_grad()
    def round(self, stacked: Stacked | None) -> float:
        """Train one more round; its seconds, the device's work included."""
        make: Any = SequentialCohort if stacked is None else partial(StackedCohort, stacked)
        self.number += 1
        kind = self.kind
        ids = np.random.default_rng([self.seed, self.number]).choice(kind.clients, kind.cohort, replace=False)
        wait(self.flat.device)
        begun = time.perf_counter()
        cohort = make(
            self.flat, self.parts["train"], self.state.clients, Collective(), np.sort(ids), self.budget,
            RoundConfig(self.seed, self.number, kind.batch, kind.rate),
        )  # fmt: skip
        self.state = self.method.round(self.state, cohort)
        wait(self.flat.device)
        return time.perf_counter() - begun

    def accuracy(self) -> float:
        part = self.parts["test"]
        return float(sample_scores(self.flat, self.state.server["theta"], part.x, part.y)[0].mean())


def images(rng: np.random.Generator, seed: int) -> tuple[nn.Module, Draw]:
    """Ten coarse patterns under noise."""
    patterns = rng.random((10, 7, 7)).repeat(4, 1).repeat(4, 2)

    def draw(n: int) -> tuple[Tensor, Tensor]:
        y = rng.integers(0, 10, n)
        x = 0.3 * patterns[y] + 0.7 * rng.random((n, 28, 28))
        return torch.from_numpy((255 * x[:, None]).astype(np.uint8)), torch.from_numpy(y)

    torch.manual_seed(seed)
    return CNN((1, 28, 28), [16, 32], 128, 10), draw


def texts(rng: np.random.Generator, seed: int) -> tuple[nn.Module, Draw]:
    """Texts of 25 of 10,000 words by Zipf's law; the label leans on one direction of their vectors."""
    words, share = rng.normal(0, 0.3, (10_000, 50)).astype(np.float32), 1 / np.arange(1, 10_000)

    def draw(n: int) -> tuple[Tensor, Tensor]:
        x = rng.choice(np.arange(1, 10_000), (n, 25), p=share / share.sum())
        y = words[x, 0].sum(1) + rng.normal(0, 0.3, n) > 0
        return torch.from_numpy(x), torch.from_numpy(y.astype(np.int64))

    torch.manual_seed(seed)
    return StackedLSTM(torch.from_numpy(words)), draw


def pictures(rng: np.random.Generator, seed: int) -> tuple[nn.Module, Draw]:
    """Noise in the shape of CIFAR-10, for its network."""

    def draw(n: int) -> tuple[Tensor, Tensor]:
        x = rng.integers(0, 256, (n, 3, 32, 32), np.uint8)
        return torch.from_numpy(x), torch.from_numpy(rng.integers(0, 10, n))

    torch.manual_seed(seed)
    return CifarCNN((3, 32, 32), [32, 64, 128], 128, 10), draw


def clips(rng: np.random.Generator, seed: int) -> tuple[nn.Module, Draw]:
    """Noise in the shape of log-mel energies, for the wake-word network."""

    def draw(n: int) -> tuple[Tensor, Tensor]:
        x = rng.standard_normal((n, 76, 64), np.float32)
        return torch.from_numpy(x), torch.from_numpy(rng.integers(0, 2, n))

    torch.manual_seed(seed)
    return CNN11(76, 64, 2), draw


KINDS = {
    "W1": Kind(200, 20, 20, 60, 0.05, images),
    "W2": Kind(772, 77, 30, 120, 0.5, texts),
    "CIFAR": Kind(40, 10, 300, 420, 0.01, pictures, batch=20),
    "wake words": Kind(5, 5, 200, 320, 0.001, clips, batch=32),
}


def kinds(quick: bool) -> dict[str, Kind]:
    return {name: KINDS[name].part(10) for name in GOALS} if quick else KINDS


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def agreement(device: torch.device, quick: bool) -> Rows:
    """Largest relative difference of the engines' models after a round, and after three for every method."""
    rows: Rows = []
    for case in CASES[:1] if quick else CASES:
        bench, models = Bench(case, device), []
        for engine in ("sequential", "stacked"):
            bench.number = 0
            bench.round(engine)
            models.append(bench.state.server["theta"])
        rows.append([f"{case.model}, {bench.flat.size:,} parameters, float32, 1 round", difference(*models)])
    for name in ("fedavg", "actperfl") if quick else [name for name in METHODS if name != "oracle"]:
        ends = []
        for stacked in (False, True):
            work = Workload(KINDS["W1"].part(5), device)
            work.flat = FlatModel(work.flat.module, work.flat.task, device, torch.float64)
            work.method = build(resolve(name, {})[0])
            work.state = work.method.init(work.flat.start, ClientStore(len(work.budget), device))
            work.parts = {k: double(part) for k, part in work.parts.items()}
            engine = work.engine() if stacked else None
            for _ in range(1 if quick else 3):
                work.round(engine)
            server, clients = work.state.server, work.state.clients
            ends.append(server["theta"] if server else clients.read("theta", torch.arange(work.kind.clients)))
        rows.append([f"{name}, float64, 3 rounds", difference(*ends)])
    return rows


def double(part: DevicePart) -> DevicePart:
    part.x = part.x.double() / 255
    return part


def difference(one: Tensor, other: Tensor) -> str:
    return f"{float((one - other).norm() / one.norm()):.1e}"


def speed(device: torch.device, quick: bool, figures: dict[str, Any]) -> Rows:
    """Rounds of both engines in turns, each on its own copy of the workload."""
    rows: Rows = []
    for name, kind in kinds(quick).items():
        plain, other = (Workload(kind, device) for _ in range(2))
        stacked = other.engine()
        times: tuple[list[float], list[float]] = ([], [])
        for number in range(2 if quick else 25 if name in GOALS else 12):
            pair = plain.round(None), other.round(stacked)
            if number >= (1 if quick else 5):  # libraries warm up and steps are captured in the first ones
                for kept, seconds in zip(times, pair, strict=True):
                    kept.append(seconds)
        one, two = map(median, times)
        figures[name] = {"sequential": one, "stacked": two, "ratio": one / two}
        rows.append([name, f"{one:.4f}", f"{two:.4f}", f"{one / two:.1f}", str(GOALS.get(name, "")),
                     f"{plain.accuracy():.3f}", f"{other.accuracy():.3f}"])  # fmt: skip
    return rows


def variants(device: torch.device, quick: bool) -> Rows:
    """The LSTM's cell and the convolution's form, with captured steps and without."""
    rows: Rows = []
    cells: list[Any] = [plain_cell, fused_cell] if device.type == "cuda" else [plain_cell]
    for name, kind in kinds(quick).items():
        for form in cells if name == "W2" else ("grouped", "unfold", "loop"):
            for captured in (True, False) if device.type == "cuda" else (False,):
                work = Workload(kind, device)
                engine = work.engine(form, captured)
                times = [work.round(engine) for _ in range(2 if quick else 12)]
                label = form if isinstance(form, str) else form.__name__.replace("_", " ")
                state = "captured" if captured and not getattr(engine.runner, "off", False) else "plain steps"
                rows.append([name, label, state, f"{median(times[1 if quick else 4 :]):.4f}"])
    return rows


def widths(device: torch.device, quick: bool) -> Rows:
    """What a round costs as more clients stand side by side: the gain that stacking several seeds could bring."""
    rows: Rows = []
    for name in GOALS:
        kind = kinds(quick)[name]
        for times in (1, 2, 5):
            work = Workload(replace(kind, clients=kind.clients * times, cohort=kind.cohort * times), device)
            engine = work.engine()
            taken = [work.round(engine) for _ in range(2 if quick else 10)]
            seconds = median(taken[1 if quick else 4 :])
            rows.append([name, str(work.kind.cohort), f"{seconds:.4f}", f"{1e3 * seconds / work.kind.cohort:.3f}"])
    return rows


def precisions(device: torch.device, quick: bool) -> Rows:
    """Test accuracy after some rounds in each precision, and its spread over seeds."""
    rows: Rows = []
    for name, kind in kinds(quick).items():
        learns = name in GOALS  # the others are noise: their time alone counts
        for precision in ("float32", "tf32", "bf16") if device.type == "cuda" else ("float32", "bf16"):
            set_precision(precision, device)
            scores, times = [], []
            for seed in range(3 if learns and not quick else 1):
                work = Workload(kind, device, seed)
                work.flat.bf16 = precision == "bf16"
                engine = work.engine()
                rounds = 2 if quick else 60 if learns else 12
                times += [work.round(engine) for _ in range(rounds)][1 if quick else 5 :]
                scores.append(work.accuracy())
            figures = [f"{mean(scores):.4f}", f"{pstdev(scores):.4f}"] if learns else ["", ""]
            rows.append([name, precision, *figures, f"{median(times):.4f}"])
    set_precision("float32", device)
    return rows


REPEAT = """
import json, sys, torch
sys.path[:0] = [{here!r}, {root!r}]
torch.set_num_threads(1)
from gpu import Workload, kinds, set_precision
from selffl_cli.engine.determinism import only_deterministic_algorithms
if {fixed}:
    only_deterministic_algorithms()
device = torch.device({device!r})
set_precision("float32", device)
rows = []
for name, kind in kinds({quick}).items():
    ends, times = [], []
    for _ in range(2):
        work = Workload(kind, device)
        engine = work.engine()
        times += [work.round(engine) for _ in range(10)][4:]
        ends.append(work.state.server["theta"])
    rows.append([name, sorted(times)[len(times) // 2], bool((ends[0] == ends[1]).all())])
print(json.dumps(rows))
"""


def determinism(device: torch.device, quick: bool) -> Rows:
    """What `--deterministic` costs and gives, each in a process of its own: cuBLAS reads its setting at its start."""
    found = []
    for fixed in (False, True):
        here = Path(__file__).parent
        code = REPEAT.format(here=str(here), root=str(here.parent), fixed=fixed, device=str(device), quick=quick)
        ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        if ran.returncode:
            return [["failed", (ran.stderr.strip().splitlines() or ["?"])[-1], "", "", ""]]
        found.append(json.loads(ran.stdout.strip().splitlines()[-1]))
    said = {True: "yes", False: "no"}
    return [
        [name, f"{plain:.4f}", said[same], f"{fixed:.4f}", said[equal]]
        for (name, plain, same), (_, fixed, equal) in zip(*found, strict=True)
    ]


def tweets_like(folder: Path, small: bool) -> Path:
    """Shards of the size and shape of the tweets' 772 clients, drawn from a seed."""
    rng = np.random.default_rng(0)
    clients = 12 if small else 772
    sizes = np.clip(rng.lognormal(3.8, 0.55, clients), 26, 300).astype(int)
    _, draw = texts(rng, 0)
    x, y = draw(int(sizes.sum()))
    part = np.concatenate([rng.permutation(np.resize([0, 0, 0, 1, 2], size)) for size in sizes])
    words = rng.normal(0, 0.3, (10_000, 100)).astype(np.float32)
    write_shards(folder, ShardData(
        "tweets-like", "made", "classification", {"x": x.numpy().astype(np.int32), "y": y.numpy()},
        np.repeat(np.arange(clients), sizes), part, [str(i) for i in range(clients)], ["negative", "positive"],
        shared={"embedding": words},
    ))  # fmt: skip
    return folder


def tweets(device: torch.device, quick: bool, shards: list[Path], figures: dict[str, Any]) -> Rows:
    """Some rounds of each of the figure's runs, one seed alone and all stacked, and what all rounds would take."""
    rounds, rows, sums = 4 if quick else 20, [], [0.0, 0.0]
    full = load_experiment("fig1-sent140")
    part = load_experiment("fig1-sent140", {"train.rounds": rounds, "warm_start.rounds": rounds,
                                            "train.eval_every": rounds})  # fmt: skip
    with tempfile.TemporaryDirectory() as place:
        data = shards or [tweets_like(Path(place) / "shards", quick)]
        groups: dict[str, list[PlannedRun]] = {}
        for seed in full.seeds[: 2 if quick else None]:
            request = Request(part, ["actperfl"] if quick else [], [seed], data=data[seed % len(data)])
            request.runs = Path(place) / "runs"
            for run in plan(request):
                groups.setdefault(run.config.label, []).append(run)
        for label, runs in groups.items():
            warm = label == "warm-start"
            length = full.warm_start.rounds if warm and full.warm_start else full.train.rounds
            row = [label, str(length)]
            for number, group in enumerate((runs[:1], runs)):
                if len(group) > 1:
                    shutil.rmtree(group[0].folder)
                begin, steady, scoring = side_by_side(group, device, rounds)
                seconds = begin + length * steady + length // full.train.eval_every * scoring
                seconds *= len(full.seeds) / len(group)
                sums[number] += seconds
                row += [f"{steady:.4f}", f"{scoring:.2f}", f"{seconds:.0f}"]
            rows.append(row)
    figures["tweets_minutes"], figures["tweets_minutes_stacked"] = (total / 60 for total in sums)
    one, all_ = (f"{total:.0f} ({total / 60:.1f} minutes)" for total in sums)
    return [*rows, ["all", "", "", "", one, "", "", all_]]


def side_by_side(runs: list[PlannedRun], device: torch.device, rounds: int) -> tuple[float, float, float]:
    """Train these runs as one; seconds before the first round, of a round and of an evaluation, of all of them."""
    together, at = Together(), dict[int, float]()  # when the last of them had done a round
    places = [together.place() for _ in runs]
    begun = time.perf_counter()

    def train(run: PlannedRun, place: SharedSeat) -> None:
        place.enter()
        try:
            controls = Controls(
                device=str(device), engine="stacked", keep="none", seat=place if len(runs) > 1 else None,
                watch=lambda line: at.update({line["round"]: time.perf_counter() - begun}),
            )  # fmt: skip
            Training(run.config, run.shards, run.folder, run.start_model(), controls).run()
        finally:
            place.leave()

    threads = [threading.Thread(target=train, args=pair) for pair in zip(runs, places, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    steady = (at[rounds - 1] - at[rounds // 2]) / (rounds - 1 - rounds // 2)
    return at[rounds // 2] - rounds // 2 * steady, steady, at[rounds] - at[rounds - 1] - steady


def table(columns: list[str], rows: Rows) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def sections(arguments: argparse.Namespace, figures: dict[str, Any]) -> Iterator[tuple[str, str]]:
    device, quick = torch.device(arguments.device), arguments.quick
    yield "Do the engines agree on this device", table(["what", "relative difference"], agreement(device, quick))
    yield (
        "Seconds a round, sequential and stacked in turns",
        table(
            ["workload", "sequential", "stacked", "times faster", "goal", "accuracy", "accuracy, stacked"],
            speed(device, quick, figures),
        ),
    )
    yield "Forms of the stacked step", table(["workload", "form", "steps", "s/round"], variants(device, quick))
    yield (
        "More clients at once",
        table(["workload", "clients a round", "s/round", "ms a client"], widths(device, quick)),
    )
    yield (
        "Deterministic algorithms: does a second run give the same bits?",
        table(
            ["workload", "s/round", "same bits", "s/round, --deterministic", "same bits"],
            determinism(device, quick),
        ),
    )
    yield (
        "Precision",
        table(["workload", "products in", "test accuracy", "sd over seeds", "s/round"], precisions(device, quick)),
    )
    source = "the shards of Figure 1" if arguments.tweets else "made-up texts of the tweets' size and shape"
    yield (
        f"A part of the tweets figure, on {source}, and the sum from it",
        table(
            [
                "run",
                "rounds",
                "s/round",
                "s/evaluation",
                "five seeds in turn, s",
                "five stacked, s/round",
                "s/evaluation",
                "five seeds stacked, s",
            ],
            tweets(device, quick, arguments.tweets or [], figures),
        ),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="a minute on a CPU: does the program run?")
    parser.add_argument("--tweets", type=Path, nargs="+", help="shards of `selffl prepare sent140`, one a seed")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / "results" / "gpu")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.device = default_device(arguments.device)
    device = torch.device(arguments.device)
    set_precision("float32", device)
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU"
    figures: dict[str, Any] = {"device": name, "torch": torch.__version__, "python": platform.python_version()}
    page = [f"# The stacked engine on {name}", f"torch {torch.__version__}, Python {platform.python_version()}"]
    page.append("Made by `python benchmarks/gpu.py" + (" --tweets FOLDER`" if arguments.tweets else "`"))
    arguments.out.mkdir(parents=True, exist_ok=True)
    notes = "[docs/gpu.md](../../docs/gpu.md) says what was predicted, what came, and what was changed after it."
    for title, content in sections(arguments, figures):
        print(f"\n## {title}\n\n{content}", flush=True)
        page += [f"## {title}", content]
        (arguments.out / "README.md").write_text("\n\n".join([*page, notes]) + "\n", encoding="utf-8")
        (arguments.out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
