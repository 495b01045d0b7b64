"""From what was typed to a request and to how it is carried out: what `train` and `tune` share."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..errors import UsageError
from ..registry import absolute, reference
from .collector import uncollected

if TYPE_CHECKING:
    from ..engine.parallel.torchrun import Team
    from ..planning.plan import Request
    from ..training.controls import Controls

SHARD_FILES = ("manifest.json", "clients.parquet", "train.safetensors")  # a folder with one of them is one of shards


@dataclass
class Asked:
    """What to train, as it was typed."""

    experiment: str
    methods: list[str]
    data: list[str]
    settings: list[str]
    runs: Path
    source: str | None = None
    init: Path | None = None
    seeds: str | None = None
    rounds: int | None = None
    label: str = ""

    def words(self, source: bool = True) -> list[str]:
        """The options that say what is trained, as they were typed; `report` knows all but the source."""
        given = [*(("--data", text) for text in self.data), *(("--set", text) for text in self.settings)]
        given += [("--rounds", str(self.rounds))] * (self.rounds is not None)
        given += [("--init", str(self.init))] * (self.init is not None)
        given += [("--source", str(self.source))] * (source and self.source is not None)
        given += [("--runs", str(self.runs))] * (self.runs != Path("runs"))
        return [word for pair in given for word in pair]


@dataclass
class How:
    """How it is carried out, as it was typed; none of it changes a number."""

    workers: int | None = None
    jobs: int | None = None
    stack_seeds: int | None = None
    ray: bool = False
    address: str | None = None
    gpus_per_run: float = 0.0
    device: str = "auto"
    engine: str = "auto"
    deterministic: bool = False
    keep_models: str = "auto"
    client_store: str = "memory"
    budget: str | None = None
    checkpoint_seconds: float = 30
    slurm: list[str] | None = None  # options of sbatch; None under another launcher
    begun: float = field(default_factory=time.monotonic)  # a time budget counts from here

    def check(self) -> None:
        """UsageError for a time budget that is none, and for options that contradict each other."""
        if self.budget is not None:
            parse_duration(self.budget)
        if not self.ray and (self.address is not None or self.gpus_per_run):
            raise UsageError("--address and --gpus-per-run belong to --launcher ray")
        if self.ray and (self.jobs is not None or self.workers is not None):
            raise UsageError(
                "--launcher ray: Ray decides how many runs go at once, one core each; leave --jobs and --workers"
            )
        if self.slurm is not None and self.workers is not None:
            raise UsageError("--launcher slurm: a job has one process; leave --workers out")
        if self.stack_seeds and (self.jobs or self.workers or self.ray or self.slurm is not None):
            raise UsageError("--stack-seeds: its runs share one process; leave --jobs, --workers and --launcher out")
        if self.stack_seeds and self.engine == "sequential":
            raise UsageError("--stack-seeds is for the stacked engine; leave --engine sequential out")

    @property
    def deadline(self) -> float | None:
        """When to stop, on the clock of `time.monotonic`."""
        return None if self.budget is None else self.begun + parse_duration(self.budget)

    def controls(self, device: str, team: Team | None = None) -> Controls:
        """What a run needs to know of it, on a device that was chosen."""
        from ..training.controls import Controls

        engine, keep, store = (cast("Any", word) for word in (self.engine, self.keep_models, self.client_store))
        return Controls(self.workers, device, engine, keep, store, self.checkpoint_seconds, team=team)


@dataclass
class Begun:
    """A command that is about to train: what is asked of which experiment, and how runs are carried out."""

    request: Request
    how: How
    controls: Controls


@contextmanager
def started(asked: Asked, how: How) -> Iterator[Begun | None]:
    """The experiment, read, and what carries its runs out; None for a rank of torchrun, which has followed its leader
    to the end."""
    how.check()
    with uncollected():
        from ..config.experiment import load_experiment, parse_seeds, warm_start_note
        from ..machine.devices import default_device
        from ..planning import cost  # noqa: F401 - what carries runs out, and with it all that a run needs
        from ..planning.claims import check as check_claims
        from ..planning.owner import check_owner
        from ..planning.plan import Request
        from .terminal import Terminal
        from .torchrun import facts, joined
    if how.deterministic:
        from ..machine.determinism import only_deterministic_algorithms

        only_deterministic_algorithms()
    overrides, places = read_settings(asked)
    with joined(how.device, how.workers) as team:
        loaded = load_experiment(asked.experiment, overrides)
        check_claims(loaded, asked.methods, overrides)
        check_owner(asked.experiment, asked.runs / loaded.name)
        if asked.init is None and (team is None or team.leads) and (note := warm_start_note(loaded, overrides)):
            Terminal().print(note, style="yellow", soft_wrap=True)
        request = Request(
            loaded,
            methods=asked.methods,
            seeds=None if asked.seeds is None else parse_seeds(asked.seeds),
            data=places.shards,
            data_folder=places.folder,
            source=asked.source,
            runs=asked.runs,
            init=asked.init,
            label=asked.label,
        )
        device = team.device if team else default_device(how.device)
        if team:
            team.agree(facts(request, device))
            if not team.leads:
                from ..launchers.torchrun import follow

                follow(team)
                yield None
                return
        yield Begun(request, how, how.controls(device, team))


@dataclass
class DataPlaces:
    """What --data named: one folder of shards, the folder where shards are kept, a data set."""

    shards: Path | None = None
    folder: Path = Path("data")
    spec: str | None = None


def read_data(texts: list[str]) -> DataPlaces:
    """Tell the three meanings of --data apart; UsageError for two of one kind.

    A folder without shards in it, or a path that ends in a slash, is where shards are kept. Every other path is a
    folder of shards, and what is no path is a data set.
    """
    places, kinds = DataPlaces(), set()
    for text in texts:
        path = Path(text)
        there = path.is_dir()
        if reference(text):  # a class in a file, whose path is no folder of shards
            kind, places.spec = "data sets", text
        elif (there and not any((path / name).exists() for name in SHARD_FILES)) or (text.endswith("/") and not there):
            kind, places.folder = "folders to keep shards in", path
        elif there or "/" in text:
            kind, places.shards = "folders of shards", path
        else:
            kind, places.spec = "data sets", text
        if kind in kinds:
            raise UsageError(f"--data '{text}': two {kind}; give one")
        kinds.add(kind)
    if places.folder.exists() and not places.folder.is_dir():
        raise UsageError(f"--data '{places.folder}/': is a file; give a folder")
    if places.shards is not None and places.spec is not None:
        raise UsageError(f"--data '{places.spec}': the shards in {places.shards} are data already; leave one out")
    return places


def read_settings(asked: Asked) -> tuple[dict[str, Any], DataPlaces]:
    """{dotted key: value} of the options that set a key of the experiment, and what --data named."""
    from ..config.spec import parse_spec, parse_value
    from ..planning.grids import with_grids

    overrides: dict[str, Any] = {}
    places = read_data(asked.data)
    if places.spec is not None:
        name, options = parse_spec(places.spec)
        overrides["data"] = {"name": absolute(name, Path()), **options}
    for text in asked.settings:
        key, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"[\w+-]+(\.[\w+-]+)*", key.strip()):
            raise UsageError(f"--set '{text}': write key=value, such as train.learning_rate=0.05")
        overrides[key.strip()] = parse_value(value)
    if asked.rounds is not None:
        overrides["train.rounds"] = asked.rounds
    return with_grids(asked.experiment, overrides), places


def parse_duration(text: str) -> float:
    """Seconds in `90s`, `10m`, `1.5h` or plain `90`."""
    match = re.fullmatch(r"\s*(\d{1,9}(?:\.\d{1,9})?)\s*([smh]?)\s*", text)
    if not match or float(match[1]) <= 0:
        raise UsageError(f"--budget '{text}': write a time such as 90s, 10m or 2h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]
