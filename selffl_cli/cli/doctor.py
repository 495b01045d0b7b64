"""`selffl doctor`: what this machine offers, and what is wrong with it.

Packages are looked up by their metadata before anything is imported, so that the command still answers where
torch or another of them is missing.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import __version__
from ..machine.free_memory import free_memory, group_limits
from . import options as opt

LITTLE_MEMORY = 2.0  # GiB; torch takes about 0.3 a process, and there is a worker a core
LITTLE_SPACE = 1.0  # GiB; checkpoints of every client's model are written whole before the old ones go


@dataclass
class Findings:
    """Rows of the table, and what to do: a problem makes the exit code 1, a note does not."""

    rows: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def doctor(
    data: Annotated[Path, typer.Option("--data", "-d", help="Where prepared data sets are kept.")] = Path("data"),
    runs: Annotated[Path, typer.Option("--runs", help="Where run folders are kept.")] = Path("runs"),
    speed: Annotated[bool, typer.Option("--speed/--no-speed", help="Time one client step (a second).")] = True,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time both engines on every model instead (a minute or two).")
    ] = False,
    as_json: opt.Json = False,
) -> None:
    """Say what this machine offers, and what is wrong with it.

    Versions, extras, device, threads, memory, folders, and the time of one
    client step. The exit code is 1 when something must be mended before
    training, else 0; notes do not count.
    """
    if measure:
        from .measure import measure_engines
        from .terminal import Terminal

        measure_engines(Terminal())
        return
    findings = Findings()
    findings.rows.append(("selffl", f"{__version__} in {Path(__file__).parents[1]}"))
    findings.rows.append(("python", f"{platform.python_version()} at {sys.executable}"))
    _packages(findings)
    _experiments(findings)
    torch = _torch(findings)
    _machine(findings)
    _folder(findings, "data", data, _prepared(data))
    _folder(findings, "runs", runs, _runs(findings, runs))
    _cache(findings)
    if torch is not None and speed:
        _speed(findings, torch)
    if as_json:
        from .as_json import print_json

        print_json({"facts": dict(findings.rows), "notes": findings.notes, "problems": findings.problems})
    else:
        _show(findings)
    raise typer.Exit(1 if findings.problems else 0)


def _show(findings: Findings) -> None:
    from rich.table import Table
    from rich.text import Text

    from .terminal import Terminal

    console = Terminal()
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, value in findings.rows:
        table.add_row(name, value)
    console.print(table)
    console.print()
    for note in findings.notes:
        console.print(Text.assemble(("note:", "yellow"), f" {note}"))
    for problem in findings.problems:
        console.print(Text.assemble(("problem:", "red"), f" {problem}"))
    if not findings.problems:
        console.print(Text.assemble(("Nothing is wrong.", "green"), " Next: selffl train --method actperfl"))


def _requirements() -> Iterator[tuple[str, tuple[int, ...], str]]:
    """(package, least version, extra or "") of everything selffl asks for."""
    for line in metadata.requires("selffl") or []:
        match = re.match(r"[A-Za-z0-9._-]+", line)
        least = re.search(r">=\s*([0-9.]+)", line.partition(";")[0])
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)", line)
        if match and match[0] != "selffl":
            yield match[0], _numbers(least[1] if least else ""), extra[1] if extra else ""


def _numbers(version: str) -> tuple[int, ...]:
    """`"2.13.0+cpu"` → (2, 13, 0)."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def _packages(findings: Findings) -> None:
    try:
        requirements = list(_requirements())
    except metadata.PackageNotFoundError:
        findings.notes.append("selffl is not installed, only found in its folder; pip install -e . installs it.")
        return
    absent: dict[str, list[str]] = {}
    for package, least, extra in requirements:
        absent.setdefault(extra, [])
        try:
            version = metadata.version(package)
        except metadata.PackageNotFoundError:
            if package != "torch":  # _torch says it, also where selffl itself is not installed
                absent[extra].append(package)
            continue
        if _numbers(version) < least:
            wanted = ".".join(map(str, least))
            (findings.notes if extra else findings.problems).append(
                f"{package} {version} is too old; pip install '{package}>={wanted}' mends it."
            )
    if missing := absent.pop("", []):
        findings.problems.append(f"Missing: {', '.join(missing)}; install selffl again, with its dependencies.")
    for extra, missing in absent.items():
        state = f"absent ({', '.join(missing)}); pip install 'selffl[{extra}]'" if missing else "present"
        findings.rows.append((f"extra {extra}", state))


def _experiments(findings: Findings) -> None:
    try:
        from ..config.experiment import experiment_names
    except ImportError:  # a missing package, reported above
        return
    names = experiment_names()
    findings.rows.append(("experiments", ", ".join(names) or "none"))
    if not names:
        findings.problems.append("No experiment came with this installation; install selffl again.")


def _torch(findings: Findings) -> Any:
    """The torch module, or None when it cannot be used."""
    try:
        torch: Any = importlib.import_module("torch")
    except ModuleNotFoundError as error:
        findings.rows.append(("torch", "missing"))
        findings.problems.append(f"{error}; install selffl again, with its dependencies.")
        return None
    except Exception as error:  # a library that does not load raises OSError, ImportError or RuntimeError
        findings.rows.append(("torch", "does not load"))
        findings.problems.append(f"torch does not load: {' '.join(str(error).split())[:200]}; install it again.")
        return None
    build = f"CUDA {torch.version.cuda} build" if torch.version.cuda else "CPU build"
    findings.rows.append(("torch", f"{torch.__version__}, {build}"))
    if torch.cuda.is_available():
        device = torch.cuda.get_device_properties(0)
        others = f" and {torch.cuda.device_count() - 1} more" if torch.cuda.device_count() > 1 else ""
        findings.rows.append(("device", f"cuda: {device.name}, {device.total_memory / 2**30:.0f} GiB{others}"))
    else:
        findings.rows.append(("device", f"cpu: {_cpu_name()}"))
        if shutil.which("nvidia-smi") and not torch.version.cuda:
            findings.notes.append("An NVIDIA driver is here, but torch is a CPU build; a CUDA build would use it.")
    if not torch.distributed.is_available():
        findings.notes.append("torch was built without torch.distributed: training runs in one process.")
    threads, wanted = torch.get_num_threads(), os.environ.get("OMP_NUM_THREADS", "not set")
    findings.rows.append(("threads", f"torch takes {threads} by default (OMP_NUM_THREADS {wanted})"))
    if threads > 1:
        findings.notes.append(
            "torch takes more than one thread by default. selffl's workers use one each, whatever is set; "
            "export OMP_NUM_THREADS=1 before scripts of your own that train many small models."
        )
    return torch


def _cpu_name() -> str:
    try:
        names = re.findall(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.M)
    except OSError:
        names = []
    return names[0].strip() if names else platform.processor() or platform.machine()


def _machine(findings: Findings) -> None:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    findings.rows.append(("cores", f"{usable} usable of {os.cpu_count()}"))
    total, available = _memory()
    if total:
        findings.rows.append(("memory", f"{available:.1f} GiB free of {total:.1f} GiB"))
        if available < LITTLE_MEMORY:
            findings.notes.append(
                f"Only {available:.1f} GiB of memory are free; selffl train --workers 1 takes the least."
            )


def _memory() -> tuple[float, float]:
    """Total and free memory in GiB, within the container's limit where there is one; zeros when unknown."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        values = {key: int(value) / 2**20 for key, value in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.M)}
        total, available = values["MemTotal"], values["MemAvailable"]
    except (OSError, KeyError):
        try:
            page = os.sysconf("SC_PAGE_SIZE") / 2**30
            total = available = os.sysconf("SC_PHYS_PAGES") * page
        except (AttributeError, OSError, ValueError):
            return 0.0, 0.0
    total = min([total, *(limit / 2**30 for limit, _ in group_limits())])
    available = min(available, free_memory() / 2**30)
    return total, available


def _prepared(data: Path) -> str:
    return f"{sum(1 for _ in data.glob('*/manifest.json'))} prepared"


def _runs(findings: Findings, runs: Path) -> str:
    """Count finished runs; name the unfinished ones."""
    folders = sorted(path.parent for path in runs.glob("*/*/run.toml"))
    unfinished = [folder for folder in folders if not (folder / "result.json").exists()]
    if unfinished:
        shown = ", ".join(str(folder) for folder in unfinished[:3]) + (", …" if len(unfinished) > 3 else "")
        findings.notes.append(f"Unfinished or running: {shown}; the command that began them resumes them.")
    return f"{len(folders) - len(unfinished)} finished, {len(unfinished)} unfinished"


def _folder(findings: Findings, name: str, folder: Path, content: str) -> None:
    there = folder.resolve()
    while not there.exists():  # what is asked is whether it could be made
        there = there.parent
    free = shutil.disk_usage(there).free / 2**30
    findings.rows.append((f"{name} folder", f"{folder}: {content}, {free:.1f} GiB free"))
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        findings.problems.append(f"{there} cannot be written to; choose another folder with --{name}.")
    elif free < LITTLE_SPACE:
        findings.notes.append(f"Only {free:.2f} GiB are free for {folder}.")


def _cache(findings: Findings) -> None:
    """Downloads kept for the next `prepare`."""
    from data_prep.reading.download import default_cache

    folder = default_cache()
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    size = sum(path.stat().st_size for path in files) / 2**20
    findings.rows.append(("cache", f"{folder}: {len(files)} files, {size:,.1f} MiB ($SELFFL_CACHE moves it)"))


def _speed(findings: Findings, torch: Any) -> None:
    """Median time of one SGD step of a 64-64-10 network (the digits' size), ten samples, one thread."""
    try:
        from ..models.mlp import MLP
    except ImportError as error:
        findings.problems.append(f"The models do not load: {error}")
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model, x, y = MLP(64, [64], 10), torch.rand(10, 64), torch.arange(10)
        optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
        times = []
        deadline = time.perf_counter() + 1.0
        while time.perf_counter() < deadline:
            start = time.perf_counter()
            optimiser.zero_grad()
            torch.nn.functional.cross_entropy(model(x), y).backward()
            optimiser.step()
            times.append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(threads)
    median = sorted(times)[len(times) // 2]
    findings.rows.append(("client step", f"{median * 1e6:.0f} µs on one CPU thread (64-64-10 network, batch of 10)"))
