"""`selffl doctor --measure`: which engine is faster for which model on this machine."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console


def measure_engines(console: Console) -> None:
    """Measure both engines on the best device here, print the table, keep it for `--engine auto`."""
    import torch
    from rich.progress import Progress, SpinnerColumn, TextColumn
    from rich.table import Table

    from ..engine.auto import WORTH, choose, own_table, table
    from ..machine.devices import default_device
    from ..machine.environment import processor
    from ..training.engine_timing import CASES, measure

    device = default_device("auto")
    ratios: dict[str, list[list[float]]] = {}
    rows = []
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}", markup=False), console=console, transient=True
    ) as progress:
        task = progress.add_task("")
        for number, (model, size, plain, stacked) in enumerate(measure(torch.device(device)), 1):
            ratios.setdefault(model, []).append([size, round(plain / stacked, 2)])
            rows.append((model, size, plain, stacked))
            progress.update(task, description=f"{number} of {len(CASES)}: {model}, {size:,} parameters")
    found: dict[str, Any] = {
        "processor": processor() if device == "cpu" else torch.cuda.get_device_name(device),
        "torch": torch.__version__, "measured": datetime.now(UTC).date().isoformat(), "ratios": ratios,
    }  # fmt: skip
    path = own_table()
    path.parent.mkdir(parents=True, exist_ok=True)
    before = table() if path.is_file() else {}
    path.write_text(json.dumps({**before, device: found}, indent=1) + "\n", encoding="utf-8")

    shown = Table(title=f"A round of 20 clients in batches of ten, one thread, {device}: {found['processor']}")
    for column in ("model", "parameters", "sequential", "stacked", "faster by", "auto takes"):
        shown.add_column(column, justify="left" if column in ("model", "auto takes") else "right")
    for model, size, plain, stacked in rows:
        shown.add_row(
            model, f"{size:,}", f"{plain * 1e3:.1f} ms", f"{stacked * 1e3:.1f} ms", f"{plain / stacked:.2f}",
            choose("auto", model, size, device).name,
        )  # fmt: skip
    console.print(shown)
    console.print(f"Stacked from {WORTH} times on. Kept in {path}; delete it to go by the package's own table.")
