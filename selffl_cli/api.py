"""The face for Python: the calls behind the commands, and what a method or a model of one's own builds on.

Names are imported when they are first used, so that `import selffl` brings no torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .config.sampler import Sampler
    from .engine.cohort import Cohort, State, Weighting
    from .engine.store import ClientStore
    from .errors import SelfflError, UsageError
    from .methods.base import Federated, Method, Weighted
    from .methods.base import Options as MethodOptions
    from .metrics.metric import Metric
    from .models.base import Model
    from .models.base import NoOptions as ModelOptions
    from .shards import Manifest, Shards, write_shards

__all__ = [  # noqa: RUF022 - in the order of docs/python.md
    "Shards", "write_shards", "Manifest", "Method", "MethodOptions", "Federated", "Weighted", "Weighting", "Cohort",
    "State", "ClientStore", "Model", "ModelOptions", "Metric", "Sampler", "SelfflError", "UsageError",
]  # fmt: skip

# name → module, and its name there when it is another
PLACES = {
    "Shards": "shards", "write_shards": "shards", "Manifest": "shards", "Method": "methods.base",
    "MethodOptions": "methods.base:Options", "Federated": "methods.base", "Weighted": "methods.base",
    "Weighting": "engine.cohort", "Cohort": "engine.cohort", "State": "engine.cohort", "ClientStore": "engine.store",
    "Model": "models.base", "ModelOptions": "models.base:NoOptions", "Metric": "metrics.metric",
    "Sampler": "config.sampler", "SelfflError": "errors", "UsageError": "errors",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in PLACES:
        raise AttributeError(f"selffl has no {name}; it has {', '.join(__all__)}")
    module, _, own = PLACES[name].partition(":")
    value = getattr(importlib.import_module(f".{module}", __package__), own or name)
    globals()[name] = value
    return value
