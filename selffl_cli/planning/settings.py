"""Which settings of an experiment's sweep there are, and which of them given shards were made with."""

from __future__ import annotations

from typing import Any

from ..config.experiment import Experiment
from ..errors import UsageError
from ..registry import reference, short
from ..shards.manifest import Manifest


def settings_of(experiment: Experiment, data: Manifest | None) -> list[dict[str, Any]]:
    """The settings of the sweep; with shards given, those that the shards were made with.

    UsageError where the shards agree with none: their figures would stand under another's name.
    """
    settings = list(experiment.settings())
    swept = [key for key in experiment.sweep if key.startswith("data.")]
    if data is None or not swept:
        return settings
    made = {"name": data.name, "clients": data.clients, **data.arguments}
    fitting = [s for s in settings if all(data_option(k, s[k]) == data_option(k, made.get(k[5:])) for k in swept)]
    if not fitting:
        found = ", ".join(f"{key} = {made.get(key[5:])}" for key in swept)
        known = "; ".join(f"{key}: {', '.join(map(str, experiment.sweep[key]))}" for key in swept)
        raise UsageError(
            f"--data: these shards have {found}, which is no setting of the sweep of {experiment.name} ({known}); give "
            "other shards, or leave --data out"
        )
    return fitting


def data_option(key: str, value: Any) -> Any:
    """A data option in its one way of writing; a partition's own options may stand in any order."""
    from data_prep.dealing.partition import canonical

    if key == "data.partition" and isinstance(value, str):
        if reference(value):  # a record must not have its code run
            return short(value)
        try:
            return canonical(value)
        except UsageError:
            return value
    return value
