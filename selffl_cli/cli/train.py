"""`selffl train`."""

from __future__ import annotations

import re
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from ..config.spec import spec_help
from ..continual.options import MEMORIES
from ..errors import UsageError
from ..privacy.options import KINDS
from ..sampling.options import SAMPLERS
from .collector import uncollected


class Place(StrEnum):
    """Where per-client rows lie."""

    memory = "memory"
    disk = "disk"


class LauncherName(StrEnum):
    """What carries runs out."""

    local = "local"
    ray = "ray"


class KeepModels(StrEnum):
    """Which final models a run folder keeps."""

    auto = "auto"
    global_ = "global"
    personal = "personal"
    none = "none"


class Engine(StrEnum):
    """How the clients of a round are computed."""

    auto = "auto"
    sequential = "sequential"
    stacked = "stacked"


class Precision(StrEnum):
    """Of the matrix products of training."""

    float32 = "float32"
    tf32 = "tf32"
    bf16 = "bf16"


def train(
    experiment: Annotated[
        str, typer.Argument(help="An experiment's name or TOML file.", metavar="EXPERIMENT")
    ] = "digits",
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            "-m",
            help="A method or `name:key=value,…`; may be repeated. Default: the experiment's list.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", "-d", help="A shard folder, or a data set as `name:key=value,…`.", show_default=False),
    ] = None,
    rounds: Annotated[
        int | None, typer.Option("--rounds", "-r", help="Communication rounds.", show_default=False)
    ] = None,
    seeds: Annotated[
        str | None, typer.Option("--seeds", "-s", help="Seeds such as 0-4 or 0,7.", show_default=False)
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Set any key of the experiment: key=value; may be repeated.", show_default=False),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--source", help="File, folder or URL of data that must be prepared first.", show_default=False),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            "--init", help="Start from the global model of a run folder or a .safetensors file.", show_default=False
        ),
    ] = None,
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Run the record of a run folder (or a run.toml) again, below RUNS-again or --runs, and compare.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            "-w",
            min=1,
            max=1024,
            help="Processes that share a run's clients, one thread each. Default: one a core when rounds are long.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            "-j",
            min=1,
            max=1024,
            help="Runs at once, each in a process of its own. Default: one a core, on a GPU one.",
            show_default=False,
        ),
    ] = None,
    stack_seeds: Annotated[
        int | None,
        typer.Option(
            "--stack-seeds",
            min=2,
            max=64,
            help="Seeds of a method at once, all their clients stacked in one computation (for a GPU).",
            show_default=False,
        ),
    ] = None,
    launcher: Annotated[
        LauncherName, typer.Option("--launcher", help="What carries the runs out.")
    ] = LauncherName.local,
    address: Annotated[
        str | None,
        typer.Option("--address", help="Ray: a cluster's HOST:PORT, or auto. Default: here.", show_default=False),
    ] = None,
    gpus_per_run: Annotated[float, typer.Option("--gpus-per-run", min=0, help="Ray: GPUs, or a share of one.")] = 0,
    device: Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")] = "auto",
    engine: Annotated[
        Engine, typer.Option("--engine", help="Clients one after another, or stacked; auto goes by what was measured.")
    ] = Engine.auto,
    precision: Annotated[
        Precision | None,
        typer.Option(
            "--precision", help="Of training's products; tf32 (GPU) and bf16 make another run.", show_default=False
        ),
    ] = None,
    deterministic: Annotated[
        bool,
        typer.Option(
            "--deterministic",
            help="On a GPU, the same bits each time: up to 1.7 times slower (H200). A CPU always is so.",
        ),
    ] = False,
    keep_models: Annotated[
        KeepModels, typer.Option("--keep-models", help="Final models to keep; auto keeps personal ones up to 100 MiB.")
    ] = KeepModels.auto,
    client_store: Annotated[
        Place,
        typer.Option("--client-store", help="Where clients' rows (personal models, variances) lie while a run trains."),
    ] = Place.memory,
    budget: Annotated[
        str | None,
        typer.Option("--budget", help="Stop cleanly after this time, such as 90s, 10m or 2h.", show_default=False),
    ] = None,
    checkpoint_seconds: Annotated[
        float, typer.Option("--checkpoint-seconds", min=0, help="Time between checkpoints.")
    ] = 30,
    runs: Annotated[Path, typer.Option("--runs", file_okay=False, help="Where run folders go.")] = Path("runs"),
    data_folder: Annotated[
        Path, typer.Option("--data-folder", file_okay=False, help="Where shards are looked for and prepared.")
    ] = Path("data"),
    dry_run: Annotated[
        bool, typer.Option("--dry-run", "-n", help="Print what would run and what it would cost.")
    ] = False,
    tune: Annotated[
        bool,
        typer.Option(
            "--tune",
            help="Try each method's grid first (on validation data, a seed apart) and use the best from then on.",
        ),
    ] = False,
    new_clients: Annotated[
        float | None,
        typer.Option(
            "--new-clients",
            min=0,
            max=0.9,
            help="Share of clients held out of training and judged at the end.",
            show_default=False,
        ),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            "--sampler",
            help=f"Who takes part in a round, as in top:fraction=0.5: {spec_help(SAMPLERS)}. Default: uniform.",
            show_default=False,
        ),
    ] = None,
    weighting: Annotated[
        str | None,
        typer.Option(
            "--weighting",
            help="How models are averaged: samples, equal, or unbiased (corrects for the sampler; draws with "
            "replacement). Default: each method's own.",
            show_default=False,
        ),
    ] = None,
    privacy: Annotated[
        str | None,
        typer.Option(
            "--privacy",
            help="Of users (with --sampler poisson:q=…) or of samples, as in user:noise=1; one of noise and "
            f"target-epsilon is needed: {spec_help(KINDS)}.",
            show_default=False,
        ),
    ] = None,
    periods: Annotated[
        bool | None,
        typer.Option(
            "--periods/--no-periods",
            help="Train on the data's periods one after another (prepare --periods), --rounds in each.",
            show_default=False,
        ),
    ] = None,
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory",
            help=f"What clients keep of earlier periods: {spec_help(MEMORIES)}. Default: none.",
            show_default=False,
        ),
    ] = None,
    memory_size: Annotated[
        int | None, typer.Option("--memory-size", min=1, help="Samples each client keeps.", show_default=False)
    ] = None,
    list_methods: Annotated[bool, typer.Option("--list-methods", help="Print every method and its options.")] = False,
) -> None:
    """Train an experiment's methods and seeds; finished runs are skipped, broken ones resumed."""
    from .terminal import Terminal

    console = Terminal()
    if list_methods:
        from .methods import print_methods

        print_methods(console)
        return
    deadline = None if budget is None else time.monotonic() + parse_duration(budget)

    with uncollected():
        from ..config.experiment import load_experiment, parse_seeds
        from ..machine.devices import default_device
        from ..planning import cost as predict  # noqa: F401 - what carries runs out, and with it all that a run needs
        from ..planning.claims import check as check_claims
        from ..planning.plan import Request, plan
        from ..planning.tuning import tuned
        from .running import RayOptions, RunOptions, carry_out, check_launcher, print_results, tune_first
        from .torchrun import facts, joined

    check_launcher(launcher == LauncherName.ray, jobs, workers, address, gpus_per_run)
    if stack_seeds and (jobs or workers or launcher == LauncherName.ray or from_ is not None):
        raise UsageError("--stack-seeds: its runs share one process; leave --jobs, --workers, --launcher and --from")
    if stack_seeds and engine == Engine.sequential:
        raise UsageError("--stack-seeds is for the stacked engine; leave --engine sequential")

    parts: dict[str, Any] = {"sampler": sampler, "weighting": weighting, "privacy": privacy}
    parts |= {"periods": periods, "memory": memory, "memory_size": memory_size}
    if deterministic:
        from ..machine.determinism import only_deterministic_algorithms

        only_deterministic_algorithms()
    if from_ is not None:
        from ..planning.rerun import Place as Places
        from .rerun import refuse, train_again

        changes = {"method": method, "rounds": rounds, "seeds": seeds, "set": set_, "tune": tune}
        refuse({**changes, "new_clients": new_clients, **parts})
        place = Places(runs, data_folder, None if data is None else Path(data), source, init)
        where, keep, store = default_device(device), keep_models.value, client_store.value
        options = RunOptions(workers, where, engine.value, keep, store, deadline, checkpoint_seconds, None, 1, None)
        train_again(from_, place, options, dry_run, console)
        return
    overrides, folder = _overrides(data, rounds, set_ or [])
    if new_clients is not None:
        overrides["train.new_clients"] = new_clients
    overrides |= {f"train.{key}": value for key, value in parts.items() if value is not None}
    if precision is not None:
        overrides["train.precision"] = precision.value
    with joined(device, workers) as team:
        loaded = load_experiment(experiment, overrides)
        check_claims(loaded, method or [], overrides)
        request = Request(
            loaded,
            methods=list(method or []),
            seeds=None if seeds is None else parse_seeds(seeds),
            data=folder,
            data_folder=data_folder,
            source=source,
            runs=runs,
            init=init,
        )
        device = team.device if team else default_device(device)
        if team:
            team.agree(facts(request, device))
            if not team.leads:
                from ..launchers.torchrun import follow

                follow(team)
                return
        options = RunOptions(
            workers, device, engine.value, keep_models.value, client_store.value, deadline, checkpoint_seconds, team,
            jobs, RayOptions(address, gpus_per_run) if launcher == LauncherName.ray else None, stack_seeds,
        )  # fmt: skip
        if tune:
            tune_first(request, options, console)
        request.experiment = tuned(request.experiment, runs, request.methods)
        planned = plan(request)
        if dry_run:
            from .dry_run import print_costs

            print_costs(planned, workers, device, console)
            return
        print_results(request, planned, carry_out(planned, options, console), console)


def _overrides(data: str | None, rounds: int | None, settings: list[str]) -> tuple[dict[str, Any], Path | None]:
    """{dotted key: value} from the flags, and the shard folder when `--data` names one."""
    from ..config.spec import parse_spec, parse_value

    overrides: dict[str, Any] = {}
    folder = None
    if data is not None:
        if Path(data).is_dir() or "/" in data:
            folder = Path(data)
        else:
            name, options = parse_spec(data)
            overrides["data"] = {"name": name, **options}
    for text in settings:
        key, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"[\w+-]+(\.[\w+-]+)*", key.strip()):
            raise UsageError(f"--set '{text}': write key=value, such as train.learning_rate=0.05")
        overrides[key.strip()] = parse_value(value)
    if rounds is not None:
        overrides["train.rounds"] = rounds
    return overrides, folder


def parse_duration(text: str) -> float:
    """Seconds in `90s`, `10m`, `1.5h` or plain `90`."""
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([smh]?)\s*", text)
    if not match or float(match[1]) <= 0:
        raise UsageError(f"--budget '{text}': write a time such as 90s, 10m or 2h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
