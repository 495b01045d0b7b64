"""The `selffl` command: which commands there are, and how they fail.

A command is imported only when it runs, so that `selffl --help` and `--version` cost typer and rich alone
(0.1 s) and not torch (2 s).
"""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys
from dataclasses import dataclass
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from .. import __version__
from ..errors import SelfflError, UsageError, one_line
from .encoding import any_encoding
from .keys import KeysCommand
from .old_forms import refuse_old


@dataclass(frozen=True)
class Command:
    """One line of the command list, and where the rest is."""

    attribute: str  # "module:name" in selffl_cli.cli: a function, or a typer.Typer for a group of commands
    help: str
    examples: tuple[str, ...]


COMMANDS = {
    "experiments": Command(
        "experiments:experiments",
        "List the experiments that ship.",
        ("selffl experiments", "selffl experiments mnist-writers-short"),
    ),
    "methods": Command(
        "methods:methods",
        "Print every method and its options.",
        ("selffl methods", "selffl methods actperfl ditto"),
    ),
    "prepare": Command(
        "prepare:app",
        "Split a data set into one shard a client.",
        ("selffl prepare digits", "selffl prepare digits --clients 50 --partition dirichlet:alpha=0.1"),
    ),
    "train": Command(
        "train:train",
        "Train an experiment's methods and seeds; finished runs are skipped, broken ones resumed.",
        (
            "selffl train --method actperfl",
            "selffl train digits --seeds 0-4 --dry-run",
            "selffl train digits -m fedavg --set train.learning_rate=0.05",
            "selffl train digits -m ditto:lam=0.5 --data digits:clients=50",
        ),
    ),
    "tune": Command(
        "tune:tune",
        "Try each method's grid on validation data; train uses the best from then on.",
        ("selffl tune mnist-writers-short", "selffl tune mnist-writers-short --method ditto --jobs 2"),
    ),
    "ls": Command(
        "ls:ls",
        "List the runs that are there, and where each one stands.",
        ("selffl ls", "selffl ls digits --json", "selffl ls runs --watch"),
    ),
    "rerun": Command(
        "rerun:rerun",
        "Run a finished run's record again and compare every number.",
        ("selffl rerun runs/digits/digits-fedavg-s0-1a2b3c4d", "selffl rerun run.toml --runs elsewhere"),
    ),
    "eval": Command(
        "eval:eval_",
        "Score finished runs on any part of the data, client by client.",
        ("selffl eval runs/digits/*", "selffl eval runs/digits/* --part validation"),
    ),
    "audit": Command(
        "audit:app",
        "Attack finished runs: membership, canary users, sensitivity to groups.",
        ("selffl audit membership runs/digits/*", "selffl audit canary-users runs/privacy/*eps8*"),
    ),
    "report": Command(
        "report:report",
        "Turn an experiment's runs into tables, curves and judged claims.",
        ("selffl report digits", "selffl report digits --check"),
    ),
    "export": Command(
        "export:export",
        "Copy what runs measured into TensorBoard, MLflow, W&B or Trackio.",
        ("selffl export runs/digits --to tensorboard", "selffl export runs/digits --to mlflow --follow"),
    ),
    "bundle": Command(
        "bundle:bundle",
        "Make one archive of an experiment's runs and report, to be handed on.",
        ("selffl bundle results/digits", "selffl bundle runs/digits/report --data"),
    ),
    "verify": Command(
        "verify_bundle:verify",
        "Check a bundle on this machine: every file, run and table.",
        ("selffl verify digits.zip", "selffl verify digits.zip --rerun"),
    ),
    "doctor": Command(
        "doctor:doctor",
        "Say what this machine offers, and what is wrong with it.",
        ("selffl doctor", "selffl doctor --no-speed"),
    ),
}


def _epilog(examples: tuple[str, ...]) -> str:
    return "\n".join(["[bold]Examples[/bold]", *(f"  [cyan]{example}[/cyan]" for example in examples)])


def _load(name: str) -> Any:
    """Import a command and make the parser of its options."""
    entry = COMMANDS[name]
    if name in ("train", "tune", "rerun", "eval", "audit", "verify"):  # many small models: one thread each
        os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when numpy and torch are imported
    module, _, attribute = entry.attribute.partition(":")
    found = getattr(importlib.import_module(f"{__package__}.{module}"), attribute)
    if not isinstance(found, typer.Typer):
        holder = typer.Typer(add_completion=False, context_settings={"help_option_names": ["-h", "--help"]})
        holder.command(name, cls=KeysCommand if name in ("train", "tune") else None)(found)
        found = holder
    command: Any = typer.main.get_command(found)
    command.name = name
    command.epilog = command.epilog or _epilog(entry.examples)
    return command


class LazyGroup(TyperGroup):
    """Lists placeholders; imports the one command that is called (or completed)."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if not ctx.resilient_parsing:  # which is completion
            refuse_old(name or "", rest)
        return (name, _load(name), rest) if name in COMMANDS else (name, command, rest)


app = typer.Typer(
    cls=LazyGroup,
    add_completion=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_epilog(("selffl train --method actperfl", "selffl train", "selffl report digits")),
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"selffl {__version__}")
        raise typer.Exit()


@app.callback()
def _main(
    version: Annotated[
        bool,
        typer.Option("--version", "-V", help="Print the version and exit.", callback=_print_version, is_eager=True),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Train, judge and report personalised federated learning: ActPerFL / Self-FL and its baselines."""


def _placeholder() -> None:
    """Never called: `LazyGroup` puts the command in its place."""


for _name, _entry in COMMANDS.items():
    app.command(_name, help=_entry.help)(_placeholder)


def main(arguments: list[str]) -> int:
    """Run `selffl ARGUMENTS` and return its exit code; every failure is one line on stderr.

    `--debug` may stand anywhere, so that it can be added to the end of a command that failed.
    """
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    command: Any = typer.main.get_command(app)
    any_encoding()
    try:
        _check_text(arguments)
        result = command(arguments or ["--help"], prog_name="selffl", standalone_mode=False)
        sys.stdout.flush()
        return result if isinstance(result, int) else 0
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `selffl … | head`: nobody reads on, which is no error of ours
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except Exception as error:
        if debug:
            import traceback

            traceback.print_exc()
        text, code = _describe(error)
        if text:
            typer.secho("error:", fg=typer.colors.RED, bold=True, err=True, nl=False)
            typer.echo(f" {text}", err=True)
        return code


def _check_text(arguments: list[str]) -> None:
    """UsageError for a name that is no UTF-8: records are text, and safetensors opens no such path."""
    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(f"'{argument}' is no text in UTF-8; rename it") from None


def _describe(error: Exception) -> tuple[str, int]:
    """What is wrong as one line, and the exit code."""
    if isinstance(error, SelfflError):
        return one_line(str(error)), error.exit_code
    if isinstance(error, typer.TyperException):  # what typer itself finds wrong with the arguments
        text = one_line(error.format_message())
        context = getattr(error, "ctx", None)
        if text and context is not None:
            text = f"{text[0].lower()}{text[1:].rstrip('.')}; see '{context.command_path} --help'"
        return text, error.exit_code
    if isinstance(error, typer.Abort):
        return "aborted", 1
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        hint = "make room, then the same command goes on" if full else "--debug shows where"
        return one_line(f"{where}{error.strerror.lower()} ({hint})"), 1
    text = one_line(f"{type(error).__name__}: {error}".rstrip(": "))
    return f"{text} (unexpected; run again with --debug for the traceback)", 1


def run() -> None:
    """The console script. SIGTERM leaves through every `finally`, so that nothing half-made stays."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    sys.exit(main(sys.argv[1:]))
