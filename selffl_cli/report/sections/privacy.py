"""What privacy was promised, what it cost, and what attacks found: a section and one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ...runs.audits import read_audits
from ..pictures.style import PAGE, figure, legend_above, looks, save
from ..safe_text import markdown

if TYPE_CHECKING:
    from ..compare import Summary
    from ..results import Results


def privacy_section(results: Results, folder: Path) -> str:
    """Markdown, or "" when no run was private or audited."""
    lines: list[str] = []
    audited = False
    for setting in results.settings:
        for label in results.labels:
            runs = [run for run in results.finished if run.label == label and run.setting == setting]
            said = [run.result["privacy"] for run in runs if "privacy" in run.result]
            audits = pd.DataFrame([read_audits(run.folder.path) for run in runs]).mean()
            if not said and audits.empty:
                continue
            name = f"{setting} {label}".strip()
            if not said and not any(str(key).startswith(("membership", "canary-users")) for key in audits.index):
                continue
            audited |= not audits.empty
            cells = [markdown(name), *map(markdown, _promise(said))]
            for what in ("membership.global.auc", "membership.personal.auc", "membership.personal.tpr_at_1",
                         "canary-users.global.epsilon", "canary-users.global.epsilon_low"):  # fmt: skip
                cells.append(f"{audits[what]:.3g}" if what in audits and pd.notna(audits[what]) else "–")
            lines.append("| " + " | ".join(cells) + " |")
    if not lines:
        return ""
    text = (
        "Means over seeds. Epsilon at the delta beside it, by the accountant; it covers what clients send and every "
        "global model, for clients added or removed (user) or samples added or removed within a client (sample, with "
        "the nominal value of a clipped micro-batch taken for a clipped sample in brackets). Privacy of users does "
        "not cover personal models, which are trained on their owner's data without noise; no budget covers the losses "
        "and accuracies on this page, which a simulator can see and a server could not."
    )
    if audited:
        text += (
            " Membership: loss threshold, 0.5 is guessing (true positives at 1 % false positives: 0.01). Canary "
            "epsilon: what canary users show of it, an estimate and no bound; a few hundred canaries make sure of less."
        )
    head = (
        "| method | unit | noise | epsilon (delta) | membership AUC, global | personal | personal: true positives at "
        "1 % | canary epsilon | made sure of |\n|---|---|---:|---:|---:|---:|---:|---:|---:|"
    )
    return "\n\n".join(["### Privacy", text, "\n".join([head, *lines])])


def _promise(said: list[dict]) -> list[str]:
    if not said:
        return ["none", "–", "∞"]
    epsilons = [one["epsilon"] for one in said]
    text = "∞" if None in epsilons else f"{sum(epsilons) / len(epsilons):.2f}"
    nominal = [one["nominal_epsilon"] for one in said if one.get("nominal_epsilon") is not None]
    text += f" [{sum(nominal) / len(nominal):.2f}]" if nominal else ""
    text += f" ({said[0]['delta']:g})"
    if any("stopped" in one for one in said):
        text += ", stopped early"
    noises = sorted({f"{one['noise']:.3g}" for one in said})
    return [said[0]["unit"], " to ".join(noises[:: max(1, len(noises) - 1)]), text]


def privacy_picture(results: Results, summary: Summary, out: Path) -> str | None:
    """Utility against what membership inference finds, for global and personal models, epsilon beside each."""
    if len(results.settings) > 1:
        return None
    setting = next(iter(results.settings))
    look = looks(results.labels)
    scale = results.metric.scale
    shown = []
    for model in ("global", "personal"):
        for label in results.labels:
            ends = [summary.interval(setting, label, what)
                    for what in (f"membership.{model}.auc", f"test.{model}.{results.metric}")]  # fmt: skip
            if ends[0] and ends[1]:
                shown.append((model, label, ends[0], ends[1]))
    if not shown:
        return None
    promised = {label: [run.result["privacy"] for run in results.finished
                        if run.label == label and "privacy" in run.result] for label in results.labels}  # fmt: skip
    with figure(1, 2, PAGE, 3.6, sharey=True) as (fig, axes):
        for ax, model in zip(axes[0], ("global", "personal"), strict=True):
            for kind, label, leak, use in shown:
                if kind != model:
                    continue
                said = promised[label]
                epsilons = [one["epsilon"] for one in said]
                epsilon = f"{sum(epsilons) / len(epsilons):.2g}" if epsilons and None not in epsilons else "∞"
                unit = " (samples)" if said and said[0]["unit"] == "sample" else ""
                ax.errorbar(
                    leak.mean, scale * use.mean, xerr=None if leak.withheld else leak.half,
                    yerr=None if use.withheld else scale * use.half, color=look[label].color,
                    marker=look[label].marker, linestyle="none", capsize=2, markersize=6, elinewidth=0.8,
                    label=f"{label}, ε = {epsilon}{unit}",
                )  # fmt: skip
            ax.axvline(0.5, color="#666666", linewidth=0.8, linestyle="--")
            ax.set_title(f"{model} models")
            ax.set_xlabel("membership inference: AUC (0.5 = guessing)")
        axes[0, 0].set_ylabel(f"test {results.metric.head}")
        legend_above(fig, axes, columns=3)
        return save(fig, out, "privacy")
