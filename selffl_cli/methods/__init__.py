"""Methods, one a file. A new one is a file and a line in METHODS, or a file of one's own: docs/own-method.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..config.validation import validate
from ..errors import UsageError, nearest
from ..registry import Registry

if TYPE_CHECKING:
    from .base import Method

METHODS: Registry[Method] = Registry(
    "method",
    "selffl_cli.methods.base:Method",
    {
        "actperfl": "selffl_cli.methods.actperfl:ActPerFL",
        "actperfl-hb": "selffl_cli.methods.actperfl_hb:ActPerFLHB",
        "fedavg": "selffl_cli.methods.fedavg:FedAvg",
        "fedavg-ft": "selffl_cli.methods.fedavg_ft:FedAvgFT",
        "fedprox": "selffl_cli.methods.fedprox:FedProx",
        "ditto": "selffl_cli.methods.ditto:Ditto",
        "perfedavg": "selffl_cli.methods.perfedavg:PerFedAvg",
        "pfedme": "selffl_cli.methods.pfedme:PFedMe",
        "apfl": "selffl_cli.methods.apfl:APFL",
        "fedrep": "selffl_cli.methods.fedrep:FedRep",
        "local": "selffl_cli.methods.local:Local",
        "oracle": "selffl_cli.methods.oracle:Oracle",
    },
    group="selffl.methods",
)
ALIASES = {"self-fl": "actperfl"}
SUFFIXES = {"-w": "samples", "-e": "equal"}


def method_class(name: str) -> type[Method]:
    """The class of a method's registered name."""
    return METHODS[name]


def resolve(name: str, options: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """A method's name and every option with defaults written out, and its version.

    `self-fl` is actperfl; an ending -w or -e on a method that averages sets its weighting.
    """
    options = dict(options)
    plain = ALIASES.get(name, name)
    for suffix, weighting in SUFFIXES.items():
        base = plain.removesuffix(suffix)
        if plain not in METHODS and base in METHODS and "weighting" in method_class(base).options_type.model_fields:
            plain = base
            if options.setdefault("weighting", weighting) != weighting:
                raise UsageError(
                    f"method '{name}' and weighting = '{options['weighting']}' contradict each other; leave one of "
                    "them out"
                )
    if plain not in METHODS:
        raise UsageError(f"unknown method '{name}'{nearest(name, [*METHODS.names(), *ALIASES])}")
    cls, options = METHODS.recorded({**options, "name": plain})
    checked = validate(cls.options_type, options, f"method {plain}")
    return {**METHODS.record(plain), **checked.model_dump(mode="json")}, cls.version


def averages(name: str) -> bool:
    """Whether all that leaves the clients of this method (a registered name or alias, -w or -e) is an average."""
    plain = ALIASES.get(name, name)
    base = plain if plain in METHODS else plain[:-2]
    return base in METHODS and "weighting" in method_class(base).options_type.model_fields


def weighed(name: str, options: dict[str, Any], weighting: str | None) -> dict[str, Any]:
    """The options with `[train] weighting` in them; UsageError for a method that it says nothing to.

    "unbiased" keeps the method's own weighting, of which it is an unbiased estimate.
    """
    plain = ALIASES.get(name, name)
    if weighting is None or (plain not in METHODS and plain[:-2] not in METHODS):
        return options  # `resolve` says what is wrong with an unknown name
    if not averages(name):
        hint = f"; choose {plain}:aggregate=… instead" if plain == "actperfl" else ""
        raise UsageError(
            f"train.weighting = {weighting}: {plain} has no average to weigh{hint}, leave train.weighting out of it"
        )
    if weighting == "unbiased":
        return options
    if options.get("weighting", weighting) != weighting:
        raise UsageError(
            f"method '{name}' has weighting = '{options['weighting']}', train.weighting says {weighting}; leave one of "
            "them out"
        )
    return {**options, "weighting": weighting}


def build(config: dict[str, Any]) -> Method:
    """The method of a resolved record."""
    cls, options = METHODS.recorded(config)
    return cls(validate(cls.options_type, options, f"method {config['name']}"))
