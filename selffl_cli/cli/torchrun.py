"""`torchrun … -m selffl_cli train`: rank 0 does what the command says, the others follow it."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from ..errors import SelfflError, UsageError
from ..registry import short

if TYPE_CHECKING:
    from ..engine.parallel.torchrun import Team
    from ..planning.plan import Request


@contextmanager
def joined(device: str, workers: int | None) -> Iterator[Team | None]:
    """The ranks that torchrun started, or None without it. Of all ranks that fail alike, one says why."""
    from ..engine.parallel.torchrun import Ended, Team, world_size
    from ..machine.devices import default_device

    if world_size() == 1:
        yield None
        return
    if workers is not None:
        raise UsageError(f"--workers {workers}: torchrun has started {world_size()} ranks already; leave it away")
    team = Team(default_device(device))
    try:
        yield team
    except typer.Exit:
        team.close()
        raise
    except BaseException as error:
        signal.signal(
            signal.SIGTERM, signal.SIG_IGN
        )  # torchrun's to the ranks of one that failed: this one ends anyway
        if team.leads:
            team.close(error)
            raise
        said = team.said()
        team.close(error)
        if said or not isinstance(error, Exception):
            raise typer.Exit(getattr(error, "exit_code", 1)) from None
        if isinstance(error, Ended):
            raise
        raise SelfflError(f"{team.name}: {type(error).__name__ + ': ' if not str(error) else ''}{error}") from error
    team.close()


def facts(request: Request, device: str) -> dict[str, Any]:
    """What must be the same on every rank before a run starts."""
    import numpy
    import torch

    from data_prep import DATASETS
    from data_prep.dealing.partition import PARTITIONERS

    from .. import __version__, methods, models
    from ..config.sampler import SAMPLERS
    from ..config.spec import parse_spec
    from ..machine.environment import commit
    from ..metrics import METRICS
    from ..planning.plan import select
    from ..registry import Registry, reference

    chosen = select(request.experiment, request.methods)
    asked: list[tuple[Registry, str]] = [(methods.METHODS, table.get("method", key)) for key, table in chosen.items()]
    asked.append((models.MODELS, request.experiment.model["name"]))
    train = request.experiment.train
    asked += [(METRICS, name) for name in train.metrics]
    asked.append((SAMPLERS, parse_spec(train.sampler)[0]))
    data = request.experiment.data
    asked += [(DATASETS, data["name"]), (PARTITIONERS, parse_spec(str(data.get("partition", "iid")))[0])]
    code = {short(name): kind.record(name)["code"] for kind, name in asked if reference(name)}

    return {
        "selffl": " ".join(filter(None, (__version__, commit()[0][:12]))),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "device": torch.device(device).type,
        "--method": request.methods,
        "--seeds": request.seeds,
        **{f"the code of {name}": digest for name, digest in code.items()},
        **dict(_flat(request.experiment.model_dump(mode="json"))),
    }


def _flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", _named(value)


def _named(value: Any) -> Any:
    """A value without the folders of files of one's own, which may differ from machine to machine."""
    if isinstance(value, list):
        return [_named(one) for one in value]
    return short(value) if isinstance(value, str) else value
