"""Kills selffl's commands with SIGKILL, runs them again, and compares the end with that of a run never killed.

    python tests/faults.py --kills 200 --seed 0          # every command line of `cases`, real processes
    python tests/faults.py --every --only train-fedavg   # at each write of a command, one after another

Half of the kills fall on a write (an open for writing, a rename, a removal, an fsync: counted, one drawn), half on a
random moment. A command is killed up to four times in a row before it is left to end. Then every file must be there
that should be, and no other; and numbers, parameters, shards and reports must be those of the undisturbed run, to the
bit. After each kill what looks finished must be whole. A new command line is one entry in `cases`.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from glob import glob
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]
sys.path.append(str(HERE / "fault_hook"))

import sitecustomize as hook  # noqa: E402
from problems import class_shards, gaussian_shards  # noqa: E402

from selffl_cli.methods import METHODS  # noqa: E402
from selffl_cli.runs.folder import CLIENTS, FILES, METRICS, MODELS, RECORD, RESULT, RunFolder  # noqa: E402
from selffl_cli.shards import Shards  # noqa: E402

PATIENCE = 900  # seconds that any one command may take, on however busy a machine
IN_A_ROW = 4

TOML = """
name = "tiny"
[data]
name = "blobs"
[model]
name = "mlp"
hidden = [4]
[train]
rounds = 4
participation = 0.6
local_epochs = 2
batch_size = 5
eval_every = 2
[methods.fedavg]
[methods.local]
[methods.actperfl]
intra = "across-rounds"
"""
CENTRE = TOML.replace('"tiny"', '"centre"').replace('"mlp"\nhidden = [4]', '"location"').replace("= 5", "= 'full'")
WARM = TOML.replace('"tiny"', '"warm"') + "[warm_start]\nmethod = 'fedavg-w'\nrounds = 3\n"
TUNED = TOML.replace('"tiny"', '"tuned"') + (
    "[tuning]\nrounds = 2\n[tuning.grids.fedavg]\n'train.learning_rate' = [0.1, 0.2]\n"
)


SELFFL = (sys.executable, "-m", "selffl_cli")
TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "selffl_cli")


@dataclass(frozen=True)
class Case:
    """A command line, and the folder in which it is run again until it ends."""

    name: str
    words: tuple[str, ...]  # after `selffl`; one with a * stands for the names that fit
    launcher: tuple[str, ...] = SELFFL  # another one is never forked
    ready: str = ""  # another case whose outcome it starts from

    def spelt(self, place: Path) -> list[str]:
        return [name for word in self.words for name in (sorted(glob(word, root_dir=place)) if "*" in word else [word])]


def train(name: str, *words: str, **options: Any) -> Case:
    return Case(name, ("train", *words, "--checkpoint-seconds", "0", "--runs", "runs"), **options)


def cases() -> dict[str, Case]:
    """The matrix: every command, and every method alone and on two workers."""
    oracle, others = ("centre.toml", "--data", "./gaussian"), ("tiny.toml", "--data", "./blobs")
    found = [
        Case("prepare-gaussian", ("prepare", "gaussian", "--clients", "5")),
        Case("prepare-digits", ("prepare", "digits", "--clients", "4")),
        Case("prepare-force", ("prepare", "gaussian", "--clients", "5", "--force"), ready="prepare-gaussian"),
        *(
            train(f"train-{method}" + "-2" * (workers == 2),
                  *(oracle if method == "oracle" else others), "-m", method, "--workers", str(workers))
            for method in METHODS for workers in (1, 2)
        ),
        train("train-jobs", "tiny.toml", "--data", "./blobs", "--jobs", "2", "--seeds", "0-1", "-m", "fedavg"),
        train("train-torchrun", "tiny.toml", "--data", "./blobs", "-m", "actperfl", launcher=TORCHRUN),
        train("train-warm-start", "warm.toml", "--data", "./blobs", "--workers", "1", "--seeds", "0-1"),
        Case("tune", ("tune", "tuned.toml", "--data", "./blobs", "--workers", "1", "-m", "fedavg",
                      "--checkpoint-seconds", "0", "--runs", "runs")),
        train("train-prepares", "digits", "-r", "2", "-m", "fedavg", "--set", "data.clients=4", "--workers", "1"),
        train("train-disk", "tiny.toml", "--data", "./blobs", "-m", "actperfl", "--workers", "2",
              "--client-store", "disk"),
        train("train-all", "tiny.toml", "--data", "./blobs", "--workers", "1"),
        Case("report", ("report", "tiny.toml", "--x", "rounds"), ready="train-all"),
        Case("eval", ("eval", "runs/tiny/*", "--predictions", "scores", "--csv", "scores/all.csv"), ready="train-all"),
        Case("eval-verify", ("eval", "runs/tiny/*", "--verify"), ready="train-all"),
        Case("audit", ("audit", "membership", "runs/tiny/*"), ready="train-all"),
    ]  # fmt: skip
    return {case.name: case for case in found}


def start(case: Case, place: Path, real: bool, kill_at: int = 0, count_to: Path | None = None) -> int:
    """Start the command in `place`, in a process group of its own; its process id.

    A `real` one is a new interpreter; else this process, which has imported everything, is forked.
    """
    asked = {hook.KILL: str(kill_at)} if kill_at else {}
    asked |= {hook.COUNT: str(count_to)} if count_to else {}
    path = os.pathsep.join([str(HERE / "fault_hook"), str(HERE.parent)])
    with open(place.parent / f"{place.name}.log", "ab") as log:
        if real or case.launcher != SELFFL:
            environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **asked}
            return subprocess.Popen(
                [*case.launcher, *case.spelt(place)], cwd=place, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env=environment, start_new_session=True,
            ).pid  # fmt: skip
        child = os.fork()
        if child:
            return child
        code = 70
        try:
            os.setsid()
            os.chdir(place)
            for stream in (1, 2):
                os.dup2(log.fileno(), stream)
            sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115
            os.environ.update(asked)
            words = case.spelt(place)
            from selffl_cli.cli.main import main

            hook.watch()
            sys.argv = ["selffl", *words]
            code = main(words)
        finally:
            os._exit(code)


def ended(process: int, case: Case) -> int:
    """Its exit code, or minus the signal that ended it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found, status = os.waitpid(process, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.killpg(process, signal.SIGKILL)
    raise AssertionError(f"{case.name}: took longer than {PATIENCE} s")


def alone(process: int, patience: float = 30.0) -> bool:
    """Whether everything that a killed process had started ends by itself."""
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        try:
            os.killpg(process, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


# what must be the same


def names(place: Path) -> set[str]:
    return {str(path.relative_to(place)) for path in place.rglob("*") if not path.is_dir()}


def run_folders(place: Path) -> list[Path]:
    return sorted(path.parent for path in place.rglob(RECORD))


def content(path: Path) -> Any:
    """A file of a run without times, hosts and process numbers; any other as its bytes."""
    if path.parent.name == "checkpoint" or path.name in ("lock", "environment.json"):
        return None
    if path.name == METRICS:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return [{key: value for key, value in line.items() if key != "time"} for line in lines]
    if path.name == RESULT:
        times = ("seconds", "eval_seconds", "files")
        return {key: value for key, value in (RunFolder(path.parent).result or {}).items() if key not in times}
    return path.read_bytes()


def snapshot(place: Path) -> dict[str, Any]:
    return {name: content(place / name) for name in names(place)}


def check_whole(place: Path, expected: dict[str, Any]) -> None:
    """After a kill: what looks finished is whole."""
    for folder in [*(place / "data").glob("[!.]*"), place / "blobs"]:
        Shards.open(folder)
    for folder in run_folders(place):
        if RunFolder(folder).result is not None:
            for name in (*FILES, RESULT):
                key = str((folder / name).relative_to(place))
                if name in (METRICS, MODELS, CLIENTS, RESULT):
                    assert content(folder / name) == expected[key], f"{key} looks finished and is not"
    others = [*(place / "results").rglob("[!.]*.*"), *(place / "scores").glob("[!.]*.*"), *place.rglob("audit-*.json")]
    for path in others:
        key = str(path.relative_to(place))
        if not any(part.startswith(".") for part in path.relative_to(place).parts):
            assert path.read_bytes() == expected[key], f"{key} looks finished and is not"


def check_same(place: Path, expected: dict[str, Any]) -> None:
    """At the end: the same files, and the same in them."""
    found = snapshot(place)
    assert set(found) == set(expected), (
        f"left behind: {sorted(set(found) - set(expected))}, missing: {sorted(set(expected) - set(found))}"
    )
    different = [name for name in expected if found[name] != expected[name]]
    assert not different, f"not the same bits: {different}"


# the trials


@dataclass
class Tally:
    """What was done."""

    kills: int = 0
    at_writes: int = 0
    trials: int = 0
    cases: set[str] = field(default_factory=set)


class Harness:
    """Places to run in, and the undisturbed outcome of each case."""

    def __init__(self, root: Path, seed: int = 0, real: bool = True) -> None:
        self.root, self.real, self.rng = root, real, random.Random(seed)
        self.cases, self.tally = cases(), Tally()
        self.known: dict[str, tuple[Path, int, float]] = {}  # case: (outcome, writes, seconds)
        self.base = root / "base"
        self.base.mkdir(parents=True)
        class_shards(self.base / "blobs", clients=7)
        gaussian_shards(self.base / "gaussian", clients=5)
        for name, text in (("tiny", TOML), ("centre", CENTRE), ("warm", WARM), ("tuned", TUNED)):
            (self.base / f"{name}.toml").write_text(text)

        if not real:  # a fork has what its parent has imported
            for module in (
                "launchers.in_turn",
                "planning.cost",
                "report.build",
                "finished.run",
                "finished.verify",
                "finished.audits.membership",
                *(f"cli.{name}" for name in ("train", "report", "prepare", "eval", "verify", "audit")),
            ):
                importlib.import_module(f"selffl_cli.{module}")
            for module in ("prepare", "sets.digits", "sets.gaussian", "pictures.divergence", "pictures.summary"):
                importlib.import_module(f"data_prep.{module}")

    def fresh(self, case: Case, name: str) -> Path:
        """A new place with what the command needs."""
        place = self.root / name
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.undisturbed(self.cases[case.ready])[0] if case.ready else self.base, place)
        return place

    def undisturbed(self, case: Case) -> tuple[Path, int, float]:
        """The place of a run that nobody killed, its writes, and its seconds."""
        if case.name not in self.known:
            place, count = self.fresh(case, f"whole-{case.name}"), self.root / "count"
            count.unlink(missing_ok=True)
            begun = time.monotonic()
            code = ended(start(case, place, self.real, count_to=count), case)
            assert code == 0, f"{case.name}: exit code {code} without any kill\n{self.log(place)}"
            self.known[case.name] = place, int(count.read_text()), time.monotonic() - begun
        return self.known[case.name]

    def log(self, place: Path) -> str:
        return (place.parent / f"{place.name}.log").read_text(errors="replace")[-2000:]

    def attempt(self, case: Case, place: Path, at: int | None) -> bool:
        """Run the command, killed at write number `at` or at a random moment; whether the kill came in time."""
        _, _, seconds = self.undisturbed(case)
        process = start(case, place, self.real, kill_at=at or 0)
        if at is None:
            time.sleep(self.rng.uniform(0.0, 1.05) * seconds)
            (os.killpg if case.launcher != SELFFL else os.kill)(process, signal.SIGKILL)  # torchrun's ranks outlive it
        code = ended(process, case)
        if code == 0:
            return False
        # where another process of the command was the one killed, the command fails with a word
        assert code in (-signal.SIGKILL, 1), f"{case.name}: exit code {code}\n{self.log(place)}"
        assert alone(process), f"{case.name}: processes live on after the kill"
        self.tally.kills += 1
        self.tally.at_writes += at is not None
        self.tally.cases.add(case.name)
        return True

    def trial(self, case: Case, kills: list[int | None]) -> None:
        """Kill the command that often in a row, then let it end, and compare."""
        expected = snapshot(self.undisturbed(case)[0])
        place = self.fresh(case, f"killed-{case.name}")
        done: list[int | None] = []
        try:
            for at in kills:
                done.append(at)
                if not self.attempt(case, place, at):
                    break
                check_whole(place, expected)
            else:
                code = ended(start(case, place, self.real), case)
                assert code == 0, f"exit code {code} after the kills\n{self.log(place)}"
            check_same(place, expected)
        except Exception as error:
            kept = shutil.copytree(place, Path(tempfile.mkdtemp(prefix="selffl-fault-")) / case.name)
            raise AssertionError(f"{case.name}, killed at {done}: {error}\nsee {kept}") from error
        self.tally.trials += 1
        shutil.rmtree(place)

    def kills(self, total: int, chosen: list[Case], told: Callable[[str], None]) -> None:
        """At least `total` kills, dealt out to the cases in turn; each second one at a write."""
        while self.tally.kills < total:
            for case in chosen:
                _, writes, _ = self.undisturbed(case)
                kinds = [writes > 0, False]  # at a write, at a random moment; a command may only read
                self.rng.shuffle(kinds)
                row = [self.rng.randint(1, writes) if kind else None for kind in (kinds * IN_A_ROW)[:IN_A_ROW]]
                self.trial(case, row[: self.rng.randint(1, IN_A_ROW)])
                told(f"{self.tally.kills:4d} kills  {case.name} ({writes} writes)")
                if self.tally.kills >= total:
                    return

    def every(self, case: Case, told: Callable[[str], None], step: int = 1) -> None:
        """One kill at each `step`th write of the command."""
        _, writes, _ = self.undisturbed(case)
        for at in range(1, writes + 1, step):
            self.trial(case, [at])
        told(f"{self.tally.kills:4d} kills  {case.name}: each of {writes} writes")


def selected(harness: Harness, only: list[str]) -> Iterator[Case]:
    for name in only or harness.cases:
        yield harness.cases[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="at least so many (default 200)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="*", default=[], help="names of cases")
    parser.add_argument("--every", action="store_true", help="at each write of each case instead")
    parser.add_argument("--forked", action="store_true", help="fork this process: no new interpreter each time")
    parser.add_argument("--list", action="store_true", help="names of cases")
    options = parser.parse_args()
    if options.list:
        print("\n".join(f"{case.name:24} selffl {' '.join(case.words)}" for case in cases().values()))
        return
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="selffl-faults-") as folder:
        harness = Harness(Path(folder) / "places", options.seed, real=not options.forked)
        chosen = list(selected(harness, options.only))
        harness.rng.shuffle(chosen)
        if options.every:
            for case in chosen:
                harness.every(case, print)
        else:
            harness.kills(options.kills, chosen, print)
    tally = harness.tally
    print(
        f"survived {tally.kills} kills ({tally.at_writes} at a write, {tally.kills - tally.at_writes} at a random "
        f"moment) in {tally.trials} trials of {len(tally.cases)} command lines, {time.monotonic() - begun:.0f} s"
    )


if __name__ == "__main__":
    main()
