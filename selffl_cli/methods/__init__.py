"""Methods, one a file. A new one is a file and a line in METHODS."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ..errors import UsageError, nearest
from ..validation import validate

if TYPE_CHECKING:
    from .base import Method

# name → (file, class)
METHODS = {
    "actperfl": ("actperfl", "ActPerFL"),
    "actperfl-hb": ("actperfl_hb", "ActPerFLHB"),
    "fedavg": ("fedavg", "FedAvg"),
    "fedavg-ft": ("fedavg_ft", "FedAvgFT"),
    "fedprox": ("fedprox", "FedProx"),
    "ditto": ("ditto", "Ditto"),
    "perfedavg": ("perfedavg", "PerFedAvg"),
    "pfedme": ("pfedme", "PFedMe"),
    "apfl": ("apfl", "APFL"),
    "fedrep": ("fedrep", "FedRep"),
    "local": ("local", "Local"),
    "oracle": ("oracle", "Oracle"),
}
ALIASES = {"self-fl": "actperfl"}
SUFFIXES = {"-w": "samples", "-e": "equal"}


def method_class(name: str) -> type[Method]:
    """The class of a method's registered name."""
    file, cls = METHODS[name]
    return getattr(importlib.import_module(f".{file}", __package__), cls)


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
                raise UsageError(f"method '{name}' and weighting = '{options['weighting']}' contradict each other")
    if plain not in METHODS:
        raise UsageError(f"unknown method '{name}'{nearest(name, [*METHODS, *ALIASES])}")
    cls = method_class(plain)
    checked = validate(cls.options_type, options, f"method {plain}")
    return {"name": plain, **checked.model_dump(mode="json")}, cls.version


def build(config: dict[str, Any]) -> Method:
    """The method of a resolved record."""
    cls = method_class(config["name"])
    options = {key: value for key, value in config.items() if key != "name"}
    return cls(validate(cls.options_type, options, f"method {config['name']}"))  # type: ignore[call-arg]
