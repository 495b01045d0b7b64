"""The command line's promises: quick to start, one line an error, the right exit code."""

from __future__ import annotations

import gc
import importlib
import io
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import typer
from rich.console import Console

from selffl_cli import __version__
from selffl_cli.cli import doctor as doctor_file
from selffl_cli.cli import main as cli
from selffl_cli.cli.collector import uncollected
from selffl_cli.cli.eval import table as eval_table
from selffl_cli.errors import SelfflError, UsageError

HEAVY = {
    "torch",
    "numpy",
    "pandas",
    "pydantic",
    "pyarrow",
    "safetensors",
    "sklearn",
    "scipy",
    "matplotlib",
    "datasets",
}


def selffl(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "selffl_cli", *arguments], capture_output=True, text=True, timeout=120, cwd=cwd
    )


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch):
    """Put a function in the place of `selffl doctor`, and call it."""

    def put(function, *arguments: str) -> int:
        monkeypatch.setattr(doctor_file, "doctor", function)
        return cli.main(["doctor", *arguments])

    return put


def raising(error: BaseException):
    def fails() -> None:
        raise error

    return fails


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], [], ["--version"], ["-V"]])
def test_listing_imports_nothing_heavy(arguments: list[str]) -> None:
    script = f"""
import sys
from selffl_cli.cli.main import main
code = main({arguments!r})
print("LOADED", *sorted({HEAVY!r} & set(sys.modules)))
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "LOADED"
    if arguments in (["--version"], ["-V"]):
        assert done.stdout.startswith(f"selffl {__version__}\n")
    else:
        assert all(name in done.stdout for name in cli.COMMANDS)


def test_train_starts_without_the_garbage_collector_and_leaves_it_on() -> None:
    """With it, some 300 collections looked at torch's modules again and again: 0.2 s of every start."""
    script = """
import gc, sys
seen = []
gc.callbacks.append(lambda phase, info: seen.append("torch" in sys.modules))
from selffl_cli.cli.main import main
code = main(["train", "digits", "--method", "no-such-method"])
print(code, "torch" in sys.modules, sum(seen), gc.isenabled())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    code, loaded, collections, enabled = done.stdout.split()
    assert (code, loaded, enabled) == ("2", "True", "True") and int(collections) < 20
    gc.disable()
    try:
        with pytest.raises(ImportError), uncollected():
            raise ImportError
        assert not gc.isenabled()
    finally:
        gc.enable()


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_loads_and_shows_its_examples(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert f"selffl {name}" in shown and "Examples" in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_examples_parse(name: str) -> None:
    """Every option that an example shows exists, and its values are of the right kind."""
    for example in cli.COMMANDS[name].examples:
        words = example.split()
        assert words[:2] == ["selffl", name]
        _parse(cli._load(name), words[2:], words[1])


def _parse(command, words: list[str], name: str) -> None:
    context = command.make_context(name, list(words))
    if hasattr(command, "resolve_command"):  # a group: the rest belongs to one of its commands
        sub_name, sub, rest = command.resolve_command(context, words)
        assert sub is not None
        _parse(sub, rest, sub_name)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["trian"], ("trian", "did you mean 'train'")),
        (["doctor", "--sped"], ("--sped", "--speed")),
        (["doctor", "surplus"], ("surplus", "selffl doctor --help")),
        (["--frobnicate"], ("--frobnicate", "selffl --help")),
    ],
)
def test_bad_usage_is_one_line_and_exit_code_2(arguments: list[str], says: tuple[str, ...]) -> None:
    done = selffl(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    for part in says:
        assert part.lower() in done.stderr.lower()


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (SelfflError("no such\n  shards"), 1, "error: no such shards"),
        (UsageError("rounds = 0: give 1 or more"), 2, "error: rounds = 0: give 1 or more"),
        (typer.BadParameter("not so"), 2, "error: invalid value: not so; see 'selffl doctor --help'"),
        (typer.Abort(), 1, "error: aborted"),
        (
            PermissionError(13, "Permission denied", "runs/x"),
            1,
            "error: runs/x: permission denied (--debug shows where)",
        ),
        (
            ZeroDivisionError("by zero"),
            1,
            "error: ZeroDivisionError: by zero (unexpected; run again with --debug",
        ),
    ],
)
def test_a_failure_is_one_line(command, capsys: pytest.CaptureFixture[str], error, code: int, line: str) -> None:
    assert command(raising(error)) == code
    shown = capsys.readouterr()
    assert shown.out == "" and shown.err.count("\n") == 1
    assert shown.err.startswith(line)


@pytest.mark.parametrize("where", [["--debug", "doctor"], ["doctor", "--debug"]])
def test_debug_shows_the_traceback_wherever_it_stands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: list[str]
) -> None:
    monkeypatch.setattr(doctor_file, "doctor", raising(SelfflError("broken shard")))
    assert cli.main(where) == 1
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown and "in fails" in shown
    assert shown.endswith("error: broken shard\n")


def test_exit_codes_of_commands_and_signals(command) -> None:
    def leaves_with_3() -> None:
        raise typer.Exit(3)

    assert command(lambda: None) == 0
    assert command(leaves_with_3) == 3
    assert command(raising(KeyboardInterrupt())) == 130


def test_a_closed_pipe_is_quiet() -> None:
    done = subprocess.run(
        f"'{sys.executable}' -m selffl_cli --help | true",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stderr == ""


def test_doctor_says_what_the_machine_offers(tmp_path: Path) -> None:
    done = selffl("doctor", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    for part in (
        "selffl",
        "python",
        "torch",
        "device",
        "threads",
        "cores",
        "memory",
        "client step",
        "digits",
    ):
        assert part in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert not list(tmp_path.iterdir()), "doctor leaves nothing behind"


def test_doctor_names_missing_and_old_packages(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    real = metadata.version

    def version(package: str) -> str:
        if package == "safetensors":
            raise metadata.PackageNotFoundError(package)
        return "1.0.0" if package == "pydantic" else real(package)

    monkeypatch.setattr(metadata, "version", version)
    assert cli.main(["doctor", "--no-speed", "--runs", str(tmp_path)]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "problem: pydantic 1.0.0 is too old" in shown
    assert "problem: Missing: safetensors" in shown


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError("libtorch_cpu.so: cannot open shared object file"), "torch does not load: libtorch_cpu.so"),
        (ModuleNotFoundError("No module named 'torch'"), "No module named 'torch'; install selffl again"),
    ],
)
def test_doctor_answers_without_torch(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, says: str
) -> None:
    real = importlib.import_module

    def import_module(name: str, package: str | None = None):
        if name == "torch":
            raise error
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", import_module)
    assert cli.main(["doctor"]) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert f"problem: {says}" in shown and "Nothing is wrong" not in shown


def test_doctor_names_unfinished_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name, finished in (("one", True), ("two", False)):
        folder = tmp_path / "digits" / name
        folder.mkdir(parents=True)
        (folder / "run.toml").touch()
        if finished:
            (folder / "result.json").touch()
    cli.main(["doctor", "--no-speed", "--runs", str(tmp_path)])
    shown = "".join(capsys.readouterr().out.split())
    assert "1finished,1unfinished" in shown
    assert "Unfinishedorrunning:" in shown and "digits/two" in shown and "digits/one" not in shown


def test_doctor_on_a_folder_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    assert cli.main(["doctor", "--no-speed", "--data", str(file / "data")]) == 1
    assert "cannot be written to" in " ".join(capsys.readouterr().out.split())


def test_eval_cuts_no_figure_at_80_columns() -> None:
    figures = {"accuracy": 1.0, "loss": 0.53712, "client_mean": 0.6512, "worst_tenth": 1.0, "p10": 0.4312, "std": 0.15}
    rows: list[dict[str, object]] = [
        {"method": label, "seed": 104, "part": "validation", "model": "personal", **figures}
        for label in ("warm-start", "actperfl:steps=curvature,rate=matched")
    ]
    console = Console(file=io.StringIO(), width=80)
    console.print(eval_table(rows))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    whole = [line.split()[-9:] for line in lines if "validation" in line]
    assert whole == [["104", "validation", "personal", "100.0", "0.537", "65.1", "100.0", "43.1", "15.0"]] * 2
