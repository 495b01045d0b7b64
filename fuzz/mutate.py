"""Thousands of changed inputs for every parser, each read in this process and judged.

    python -m fuzz.mutate                    every parser, 200 inputs each (a few minutes)
    python -m fuzz.mutate --count 2000       as many as before a release
    python -m fuzz.mutate manifest specs     these two
    python -m fuzz.mutate --list

A failure is anything but a result or a SelfflError of one line: another exception, more than 5 seconds, or more than
2 GiB of memory beyond the start. The input is then kept in fuzz-failures/, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from selffl_cli.errors import SelfflError

from .mutator import mutate
from .parser import Parser

SECONDS = 5  # for one input
MEMORY = 2 << 30  # bytes of address space beyond what the process has at the start
FAILURES = Path("fuzz-failures")


class Outcome:
    """Counts of one parser's inputs, and what went wrong with some."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.failures: dict[str, bytes] = {}  # first line of the failure: an input that shows it
        self.slowest = 0.0


def judge(parser: Parser, folder: Path) -> str:
    """`valid`, `refused`, or what went wrong with the input that lies in `folder`."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parser.read(folder)
        return "valid"
    except SelfflError as error:
        text = str(error)
        short = text and "\n" not in text and len(text) < 2000
        return "refused" if short else f"an error of many lines: {text[:200]!r}"
    except TimeoutError:
        return f"more than {SECONDS} s"
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)
        own = [f for f in where if "selffl_cli" in f.filename or "data_prep" in f.filename] or where
        at = f"{Path(own[-1].filename).name}:{own[-1].lineno}"
        return f"{type(error).__name__} at {at}: {' '.join(str(error).split())[:120]}"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def attack(parser: Parser, count: int, seed: int = 0) -> Outcome:
    """Read `count` changed copies of the parser's good input, the same ones for the same seed."""
    outcome, rng = Outcome(), random.Random(f"{parser.name} {seed}")
    with tempfile.TemporaryDirectory() as temporary:
        good, folder = Path(temporary, "good"), Path(temporary, "in")
        good.mkdir()
        parser.make(good)
        content = (good / parser.file).read_bytes()
        if (first := _one(parser, good, folder, content)) != "valid":
            raise AssertionError(f"{parser.name}: the good input is not read: {first}")
        for _ in range(count):
            changed = mutate(content, rng, parser.words)
            begun = time.perf_counter()
            what = _one(parser, good, folder, changed)
            outcome.slowest = max(outcome.slowest, time.perf_counter() - begun)
            outcome.counts[what if what in ("valid", "refused") else "failed"] += 1
            if what not in ("valid", "refused"):
                outcome.failures.setdefault(what.partition(": ")[0], changed)
    return outcome


def _one(parser: Parser, good: Path, folder: Path, content: bytes) -> str:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(good, folder)
    (folder / parser.file).write_bytes(content)
    parser.mend(folder)
    return judge(parser, folder)


@contextmanager
def bounded_memory() -> Iterator[None]:
    """No more than MEMORY beyond what is mapped now: what blows up becomes a MemoryError here, not a dead machine."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    before = resource.getrlimit(resource.RLIMIT_AS)
    if pages:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def main() -> int:
    from .parsers import PARSERS

    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("parsers", nargs="*", metavar="PARSER", help="none: all")
    arguments.add_argument("--count", type=int, default=200)
    arguments.add_argument("--seed", type=int, default=0)
    arguments.add_argument("--list", action="store_true")
    asked = arguments.parse_args()
    if asked.list:
        print("\n".join(PARSERS))
        return 0
    failed, begun = 0, time.perf_counter()
    print(f"{'parser':22}{'inputs':>7}{'valid':>7}{'refused':>9}{'failed':>8}{'slowest':>10}")
    for name in asked.parsers or PARSERS:
        with bounded_memory():
            outcome = attack(PARSERS[name], asked.count, asked.seed)
        shown = [outcome.counts[key] for key in ("valid", "refused", "failed")]
        print(f"{name:22}{sum(shown):7}{shown[0]:7}{shown[1]:9}{shown[2]:8}{outcome.slowest:8.2f} s", flush=True)
        for number, (what, content) in enumerate(outcome.failures.items()):
            FAILURES.mkdir(exist_ok=True)
            (FAILURES / f"{name}-{number}").write_bytes(content)
            print(f"    {what}  ({FAILURES / f'{name}-{number}'})")
        failed += shown[2]
    print(f"{failed} failures, {time.perf_counter() - begun:.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
