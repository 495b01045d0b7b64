"""The section on tuning: every trial with its score on validation data, the chosen one marked."""

from __future__ import annotations

from pathlib import Path

from ...planning.tuning import FILE, read
from ..results import Results
from ..safe_text import markdown
from .registry import extra


@extra
def tuning_section(results: Results, folder: Path) -> str:
    """Markdown, or "" when the experiment's methods were not tuned."""
    content = read(results.runs[0].folder.path.parent / FILE)
    if not content:
        return ""
    lines = [
        "### Tuning",
        f"Every method had the same number of trials: {content['rounds']} rounds each with seed {content['seed']}, "
        f"scored by the {markdown(content['score'])} models on the validation part. A diverged trial counts as one.",
        "",
        "| method | options | validation score | |",
        "|---|---|---:|---|",
    ]
    for row in content["trials"]:
        options = ", ".join(f"{key} = {value}" for key, value in row["options"].items())
        score = "diverged" if row["score"] is None else f"{row['score']:.4f}"
        mark = "**chosen**" if content["chosen"].get(row["label"]) == row["options"] else ""
        lines.append(f"| {markdown(row['label'])} | {markdown(options)} | {score} | {mark} |")
    return "\n".join(lines[:2]) + "\n\n" + "\n".join(lines[3:])
