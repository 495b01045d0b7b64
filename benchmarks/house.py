"""The house in figures: `python benchmarks/house.py` prints the table of what a large redesign promised.

Every figure comes from the files themselves, apart from the calls between the command and a gradient, which are
counted in a real run of one round. `tests/house/test_house.py` holds what may not get worse.

    python benchmarks/house.py            the table
    python benchmarks/house.py --names    the table, and the names behind every figure
"""

from __future__ import annotations

import argparse
import ast
import os
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("selffl_cli", "data_prep")
# Rooms from the top down; those in one line are neighbours, which may import each other as long as no circle arises.
# A file at the root of the package is a room of its own.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("selffl_cli.__main__",),
    ("selffl_cli.cli",),
    ("selffl_cli.api",),
    ("selffl_cli.report", "selffl_cli.launchers"),
    ("selffl_cli.finished", "selffl_cli.planning"),
    ("selffl_cli.training",),
    ("selffl_cli.continual", "selffl_cli.privacy", "selffl_cli.sampling"),
    ("selffl_cli.methods",),
    ("selffl_cli.runs",),  # a checkpoint is an engine's state on disk
    ("selffl_cli.engine", "data_prep"),
    ("selffl_cli.models",),  # which read the manifest of the shards that they are built for
    ("selffl_cli.shards",),
    ("selffl_cli.config",),
    ("selffl_cli.files", "selffl_cli.metrics", "selffl_cli.machine", "selffl_cli.registry"),
    ("selffl_cli.errors", "selffl_cli.draws", "selffl_cli"),
)
ALLOWED_LOOSE = {"__init__", "__main__", "errors", "registry", "draws", "api"}
MOST_LINES, MOST_PARAMETERS = 60, 7
GENERIC = {"local"}  # names of methods that are words of the code too: the stream `local`, Ray on the local machine


@dataclass(frozen=True)
class Arrow:
    """An import: who, of whom, and on which line."""

    source: str
    target: str
    line: int

    def __str__(self) -> str:
        return f"{self.source}:{self.line} → {self.target}"


@dataclass
class House:
    """The files of a checkout, read once."""

    root: Path = ROOT
    files: dict[str, Path] = field(init=False)

    def __post_init__(self) -> None:
        paths = sorted(path for package in PACKAGES for path in (self.root / package).rglob("*.py"))
        self.files = {module_name(path.relative_to(self.root)): path for path in paths}

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        return {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in self.files.items()}

    @cached_property
    def arrows(self) -> list[Arrow]:
        """Every import of one file by another, also those inside functions and those for type checkers alone."""
        return [
            Arrow(name, target, node.lineno)
            for name, tree in self.trees.items()
            for node in ast.walk(tree)
            for target in self._targets(name, node)
            if target != name
        ]

    def _targets(self, name: str, node: ast.AST) -> Iterator[str]:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in self.files)
        elif isinstance(node, ast.ImportFrom):
            inside = self.files[name].name == "__init__.py"
            parents = name.split(".") if inside else name.split(".")[:-1]
            base = parents[: len(parents) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                if f"{module}.{alias.name}" in self.files:
                    yield f"{module}.{alias.name}"
                elif module in self.files:
                    yield module

    @property
    def loose(self) -> list[str]:
        """Files at the root of the package that belong in a room."""
        return [path.stem for path in sorted((self.root / "selffl_cli").glob("*.py")) if path.stem not in ALLOWED_LOOSE]

    @property
    def circles(self) -> list[list[str]]:
        """Groups of files that import each other."""
        after: dict[str, set[str]] = {name: set() for name in self.files}
        for arrow in self.arrows:
            after[arrow.source].add(arrow.target)
        reached = {name: _reachable(name, after) for name in after}
        groups = {frozenset(n for n in reached[name] if name in reached[n]) for name in after if name in reached[name]}
        return sorted(sorted(group) for group in groups)

    @property
    def back_up(self) -> list[Arrow]:
        """Imports of a higher room by a lower one."""
        return [arrow for arrow in self.arrows if floor(arrow.target) < floor(arrow.source)]

    @property
    def long_functions(self) -> list[str]:
        """Functions of more lines than a screen has; the signatures of commands are not counted with them."""
        return [
            f"{name}.{node.name} ({lines})" for name, node in self._functions() if (lines := _lines(node)) > MOST_LINES
        ]

    @property
    def wide_signatures(self) -> list[str]:
        """Functions that ask for more things than a reader holds in mind; commands, whose help lists them, aside."""
        return [
            f"{name}.{node.name} ({count})"
            for name, node in self._functions()
            if not _is_command(node) and (count := _parameters(node)) > MOST_PARAMETERS
        ]

    def _functions(self) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
        for name, tree in self.trees.items():
            for node in ast.walk(tree):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    yield name, node

    @property
    def facts_outside(self) -> list[str]:
        """Comparisons with a method's name outside its room: what the package knows of a method stands on its class."""
        registry = self.trees["selffl_cli.methods"].body  # METHODS, ALIASES, SUFFIXES
        assigned = [node for node in registry if isinstance(node, ast.Assign | ast.AnnAssign)]
        places = [node for one in assigned for node in ast.walk(one) if isinstance(node, ast.Dict)]
        names = {key.value for place in places for key in place.keys if isinstance(key, ast.Constant)} - GENERIC
        found = []
        for name, tree in self.trees.items():
            if name.startswith("selffl_cli.methods"):
                continue
            for node in ast.walk(tree):
                compared = [node.left, *node.comparators] if isinstance(node, ast.Compare) else []
                compared += [inner for value in compared for inner in getattr(value, "elts", [])]
                if any(isinstance(value, ast.Constant) and value.value in names for value in compared):
                    found.append(f"{name}:{node.lineno}")  # type: ignore[attr-defined]
        return found

    @property
    def experiment_lines(self) -> int:
        """Lines of the TOML files of experiments."""
        return sum(
            len(path.read_text(encoding="utf-8").splitlines()) for path in (self.root / "experiments").rglob("*.toml")
        )


def module_name(path: Path) -> str:
    """`a/b.py` → `a.b`, and `a/__init__.py` → `a`."""
    return str(path.with_suffix("")).replace(os.sep, ".").removesuffix(".__init__")


def floor(module: str) -> int:
    """How far down a file lies, 0 at the top."""
    parts = module.split(".")
    known = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    room = ".".join(parts[:2]) if parts[0] == "selffl_cli" else parts[0]
    return known.get(room, len(FLOORS) - 1)


def _reachable(start: str, after: dict[str, set[str]]) -> set[str]:
    seen: set[str] = set()
    left = list(after[start])
    while left:
        if (name := left.pop()) not in seen:
            seen.add(name)
            left.extend(after[name])
    return seen


def _lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function; of a command those of its body, since its signature is its help text."""
    first = node.body[0].lineno if _is_command(node) else node.lineno
    return (node.end_lineno or first) - first + 1


def _parameters(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    arguments = node.args
    names = [argument.arg for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in names if name not in ("self", "cls")])


def _is_command(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether Typer reads this signature: its parameters are annotated with Typer's options."""
    text = ast.unparse(node.args)
    return "opt." in text or "typer." in text


def calls_to_a_gradient() -> list[str]:
    """The functions that lie between the command's and the one that computes a gradient, from a run of one round."""
    from selffl_cli.cli.main import run
    from selffl_cli.engine.flat import FlatModel

    seen: list[traceback.FrameSummary] = []
    plain = FlatModel.gradient

    def gradient(self: FlatModel, *arguments: object) -> object:
        if not seen:
            seen.extend(traceback.extract_stack()[:-1])
        return plain(self, *arguments)  # type: ignore[arg-type]

    words = ["selffl", "train", "digits", "--method", "fedavg", "--seeds", "0", "--rounds", "1", "--jobs", "1"]
    before, here = sys.argv, Path.cwd()
    with tempfile.TemporaryDirectory() as folder, open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        os.chdir(folder)
        FlatModel.gradient = gradient  # type: ignore[method-assign, assignment]
        sys.argv = [*words, "--workers", "1", "--engine", "sequential"]
        try:
            run()
        except SystemExit:
            pass
        finally:
            FlatModel.gradient = plain  # type: ignore[method-assign]
            sys.argv = before
            os.chdir(here)
    names = [f"{Path(frame.filename).stem}.{frame.name}" for frame in seen]
    if "train.train" not in names:
        raise SystemExit("the run of one round came to no gradient")
    return names[names.index("train.train") + 1 :]


def table(house: House, calls: list[str]) -> list[tuple[str, int, str, list[str]]]:
    """Rows: what, how many, the goal, and the names behind the figure."""
    circles = [", ".join(group) for group in house.circles]
    lines = house.experiment_lines
    return [
        ("loose files at the root of selffl_cli/", len(house.loose), "0", house.loose),
        ("groups of files that import each other", len(circles), "0", circles),
        ("imports of a higher room by a lower one", len(house.back_up), "0", list(map(str, house.back_up))),
        ("calls between the command and a gradient", len(calls), "8 or fewer", calls),
        ("facts of a method outside its file", len(house.facts_outside), "0", house.facts_outside),
        ("lines of experiments/", lines, "under 2000", []),
        (f"functions over {MOST_LINES} lines", len(house.long_functions), "0", house.long_functions),
        (f"functions with more than {MOST_PARAMETERS} parameters", len(house.wide_signatures), "0",
         house.wide_signatures),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--names", action="store_true", help="print the names behind every figure")
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout that is looked at")
    asked = parser.parse_args()
    sys.path.insert(0, str(asked.root))
    for what, count, goal, names in table(House(asked.root), calls_to_a_gradient()):
        print(f"{what:<45} {count:>5}   goal: {goal}")
        if asked.names:
            print(*(f"    {name}" for name in names), sep="\n", end="\n" if names else "")


if __name__ == "__main__":
    main()
