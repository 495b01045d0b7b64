"""How much a federation personalises, as evidence of held-out training samples found it: words, a table, a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..pictures.evidence import draw_evidence
from ..results import Results, Run
from ..safe_text import markdown

HEAD = (
    "| run | clients asked | family | k | L | steps: smallest, median, largest client | held-out loss at 0 steps | "
    "chosen | gradients a client |\n|---|---:|---|---:|---:|---:|---:|---:|---:|"
)
TEXT = (
    "Before models are delivered, clients walk away from the global model on a part of their training samples and "
    "score the samples that they held out. A client of n samples takes l = L ln(1 + n/k) local steps. Those k, L and "
    "family of walks (where they start, at which rate, and whether the head alone moves) are chosen whose held-out log "
    "likelihood is largest in sum. Validation and test samples are not touched. What a client believes of its amount, "
    "r, is a pseudo-posterior. Entries that were not finite take the least finite one of their client."
)


def evidence_section(results: Results, folder: Path) -> str:
    """Markdown with a picture in `folder` for each method that asked; "" when none did."""
    lines: list[str] = []
    words: list[str] = []
    pictures: list[str] = []
    for run in results.finished:
        found = run.folder.evidence
        if not found:
            continue
        lines.append(_row(run, found))
        first = not any(line.startswith(f"**{markdown(_name(run))}**") for line in words)
        if first:  # of the seeds of a label the first speaks
            words.append(f"**{markdown(_name(run))}** (seed {run.seed}): {_words(found)}")
            name = draw_evidence(found, results.metric, folder, f"evidence-{len(pictures) + 1}")
            pictures.append(f"![Evidence of {markdown(_name(run))}]({name}.png)\n\n[SVG]({name}.svg)")
    if not lines:
        return ""
    return "\n\n".join(["### How much clients personalise", TEXT, *words, "\n".join([HEAD, *lines]), *pictures])


def _name(run: Run) -> str:
    return f"{run.setting} {run.label}".strip()


def _row(run: Run, found: dict[str, Any]) -> str:
    delivery = run.result.get("delivery", {})
    curve = found["curves"][found["family"]]["loss"]
    asked = f"{found['with_evidence']} of {found['clients']}"
    cost = delivery.get("evidence_gradients", 0) / max(found["with_evidence"], 1)
    cells = [
        f"{_name(run)}, seed {run.seed}", asked, found["family"], _strength(found), f"{found['L']:.3g}",
        ", ".join(f"{steps:g}" for _, steps in _sizes(found)), f"{_at_theta(found):.3f}",
        f"{curve[found['pooled_place']]:.3f}", f"{cost:,.0f}",
    ]  # fmt: skip
    return "| " + " | ".join(markdown(cell) for cell in cells) + " |"


def _strength(found: dict[str, Any]) -> str:
    low, high = found["k_between"]
    return f"{found['k']:.3g}" if high < 2 * low else f"{low:.2g} to {high:.4g} alike"


def _sizes(found: dict[str, Any]) -> list[tuple[int, int]]:
    """Samples and steps of the smallest, the median and the largest client that has samples."""
    samples = np.array(found["samples"])
    order = np.argsort(samples, kind="stable")
    order = order[samples[order] > 0]
    chosen = [order[0], order[len(order) // 2], order[-1]] if len(order) else []
    return [(int(samples[i]), int(found["amount_steps"][i])) for i in chosen]


def _at_theta(found: dict[str, Any]) -> float:
    """Held-out loss of the global model: every family but `own` starts from it."""
    starts = [curve["loss"][0] for family, curve in found["curves"].items() if not family.startswith("own")]
    return starts[0] if starts else float("nan")


def _words(found: dict[str, Any]) -> str:
    """What an engineer who has to decide takes away."""
    if not found["with_evidence"]:
        return "No client has two training samples, so that there is no evidence; every client keeps the global model."
    start, curve = _at_theta(found), found["curves"][found["family"]]["loss"]
    best = curve[found["pooled_place"]]
    median, steps = _sizes(found)[1]
    if not any(found["amount_steps"]):
        said = f"Personalising does not pay here: no walk beats the global model's held-out loss of {start:.3f}."
    else:
        said = (
            f"Personalising pays: the held-out loss falls from {start:.3f} for the global model to {best:.3f}. A "
            f"client of {median} samples takes {steps} steps (family: {found['family']})."
        )
    low, high = found["k_between"]
    if high < 2 * low:
        share = median / (median + found["k"])
        said += (
            f" By k = {found['k']:.3g} samples, a client with {median} samples moves {share:.0%} of the way to its own "
            "model."
        )
    else:
        said += (
            f" The clients' sizes are too alike to tell how the amount grows with size: every k from {low:.2g} to "
            f"{high:.4g} samples says the same."
        )
    if found["form"] != "pooled":
        said += f" The amounts are each client's own (choice: {found['form']})."
    for form, (gain, error) in sorted(found["gains"].items()):
        said += (
            f" Against one choice for all, '{form}' gains {gain:+.3g} ± {error:.2g} log likelihood a client "
            "(± one standard error)."
        )
    for family, (behind, error) in sorted(found["dropped"].items()):
        said += f" The family {family} was dropped after a trial: {behind:.3g} ± {error:.2g} behind a client."
    if found["not_finite"]:
        said += f" {found['not_finite']} entries were not finite."
    return markdown(said)
