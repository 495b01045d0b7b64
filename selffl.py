"""selffl from Python: `import selffl`. See docs/python.md, and selffl_cli/api.py, which this hands on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from selffl_cli import __version__ as __version__
from selffl_cli.api import __all__ as __all__

if TYPE_CHECKING:
    from selffl_cli.api import *  # noqa: F403


def __getattr__(name: str) -> Any:
    from selffl_cli import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
