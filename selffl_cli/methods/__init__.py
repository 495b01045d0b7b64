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
        "actperfl-eb": "selffl_cli.methods.actperfl_eb:ActPerFLEB",
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


def find(name: str) -> tuple[str, str | None]:
    """The registered name of `self-fl`, `fedavg-w` and the like, and the weighting that an ending says, None without.

    A UsageError names the nearest name.
    """
    plain = ALIASES.get(name, name)
    if plain in METHODS:
        return plain, None
    for suffix, weighting in SUFFIXES.items():
        base = plain.removesuffix(suffix)
        if base != plain and base in METHODS and "weighting" in METHODS[base].options_type.model_fields:
            return base, weighting
    raise UsageError(f"unknown method '{name}'{nearest(name, [*METHODS.names(), *ALIASES])}")


def method_class(name: str) -> type[Method]:
    """The class of a method's name or alias, with -w or -e or without."""
    return METHODS[find(name)[0]]


def resolve(name: str, options: dict[str, Any]) -> tuple[dict[str, Any], int]:
    """A method's name and every option with defaults written out, and its version.

    `self-fl` is actperfl; an ending -w or -e on a method that averages sets its weighting.
    """
    (plain, weighting), options = find(name), dict(options)
    if weighting and options.setdefault("weighting", weighting) != weighting:
        raise UsageError(
            f"method '{name}' and weighting = '{options['weighting']}' contradict each other; leave one of them out"
        )
    cls, options = METHODS.recorded({**options, "name": plain})
    checked = validate(cls.options_type, options, f"method {plain}")
    return {**METHODS.record(plain), **checked.model_dump(mode="json")}, cls.version


def weighed(name: str, options: dict[str, Any], weighting: str | None) -> dict[str, Any]:
    """The options with `[train] weighting` in them; UsageError for a method that it says nothing to.

    "unbiased" keeps the method's own weighting, of which it is an unbiased estimate.
    """
    if weighting is None:
        return options
    plain, _ = find(name)
    known = METHODS[plain].options_type.model_fields
    if "weighting" not in known:
        hint = f"; choose {plain}:aggregate=… instead" if "aggregate" in known else ""
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
