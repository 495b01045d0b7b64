"""Attacks on finished runs: what a model gives away, measured. Each writes audit-NAME.json into the run folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from ..errors import SelfflError
from ..files.atomic import write_whole
from ..files.checksums import seal, unseal
from ..files.regular import read_regular

NAMES = ("membership", "canary-users", "canary-text", "sensitivity")


def write_audit(folder: Path, name: str, figures: Mapping[str, float]) -> None:
    """Keep an audit's figures, {"global.auc": …}, for reports."""
    write_whole(folder / f"audit-{name}.json", json.dumps(seal(figures), indent=1, sort_keys=True) + "\n")


def read_audits(folder: Path) -> dict[str, float]:
    """Every figure of every audit of a run: {"membership.global.auc": …}."""
    found: dict[str, float] = {}
    for name in NAMES:
        path = folder / f"audit-{name}.json"
        try:
            figures = unseal(json.loads(read_regular(path)))  # those of an older selffl have no seal
            if not all(isinstance(value, int | float) for value in figures.values()):
                raise ValueError("a figure is no number")
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            raise SelfflError(f"{path}: is damaged ({error}); delete it, or run selffl audit {name} again") from None
        found |= {f"{name}.{key}": value for key, value in figures.items()}
    return found
