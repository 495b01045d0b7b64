"""Run one command and measure its whole process tree: rounds, CPU seconds, memory, time to the first round."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
ROUND = re.compile(r"\bround (\d+)/\d+")


@dataclass
class Measured:
    """What a run did; times in seconds from its start, memory in bytes."""

    rounds: dict[int, float] = field(default_factory=dict)  # when each round was reported
    cpu: dict[int, float] = field(default_factory=dict)  # CPU seconds of the tree by then
    peak: int = 0  # sum over the tree of proportional set sizes: what is shared counts once
    seconds: float = 0.0
    others: float = 0.0  # cores that everything else on the machine kept busy meanwhile
    code: int = 0
    tail: str = ""

    def per_round(self, values: dict[int, float], last: int) -> float:
        """Mean over rounds 2 to `last`."""
        return (values[last] - values[1]) / (last - 1)


class Tree:
    """Processes that carry a mark in their environment: children are found even after they are adopted or daemons."""

    def __init__(self, mark: str) -> None:
        self.mark, self.known, self.spent = mark.encode(), dict[str, bool](), dict[str, float]()

    def members(self) -> list[str]:
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            if pid not in self.known:
                try:
                    self.known[pid] = self.mark in Path(f"/proc/{pid}/environ").read_bytes()
                except OSError:
                    continue
            if self.known[pid]:
                found.append(pid)
        return found

    def cpu(self) -> float:
        """CPU seconds of every process seen so far, those that ended included."""
        for pid in self.members():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            self.spent[pid] = (int(fields[11]) + int(fields[12])) / TICKS
        return sum(self.spent.values())

    def memory(self) -> int:
        total = 0
        for pid in self.members():
            try:
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            total += sum(int(kib) for kib in re.findall(r"^Pss: +(\d+)", rollup, re.M)) * 1024
        return total

    def kill(self) -> None:
        for pid in self.members():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except OSError:
                continue


def busy() -> float:
    """CPU seconds of the whole machine since it started, idle and waiting left out."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / TICKS


def watch(command: list[str], environment: dict[str, str], folder: Path, timeout: float) -> Measured:
    """Run `command` in `folder` to its end, reading its reports of rounds as they come."""
    mark = f"SPEED_MARK={uuid.uuid4().hex}"
    tree, result, ended = Tree(mark), Measured(), threading.Event()
    name, _, value = mark.partition("=")
    start, before = time.monotonic(), busy()
    process = subprocess.Popen(
        command, cwd=folder, env={**os.environ, **environment, name: value}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    lock = threading.Lock()

    def sample() -> None:
        pause = 0.2
        while not ended.wait(pause):
            begin = time.monotonic()
            with lock:
                tree.cpu()
            result.peak = max(result.peak, tree.memory())
            pause = max(0.2, 20 * (time.monotonic() - begin))  # looking costs at most a twentieth of a core
            if time.monotonic() - start > timeout:
                tree.kill()

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    lines: list[str] = []
    assert process.stdout is not None
    for line in process.stdout:
        match = ROUND.search(line)
        if match and int(match[1]) not in result.rounds:
            result.rounds[int(match[1])] = time.monotonic() - start
            with lock:
                result.cpu[int(match[1])] = tree.cpu()
        lines = [*lines[-30:], line]
    result.code = process.wait()
    result.seconds = time.monotonic() - start
    ended.set()
    sampler.join()
    result.others = max(0.0, busy() - before - sum(tree.spent.values())) / result.seconds
    tree.kill()  # what a contender left behind would disturb the next one
    result.tail = "".join(lines)
    return result
