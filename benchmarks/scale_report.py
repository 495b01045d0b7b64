"""README.md and the figure of results/scale, from its CSV."""

from __future__ import annotations

import json
from pathlib import Path

COLOURS = {"ditto": "#0072B2", "actperfl": "#D55E00"}  # Okabe and Ito
MARKS = {"ditto": "o", "actperfl": "s"}


def report(out: Path) -> None:
    """Write README.md, figure.png and figure.svg into `out`."""
    import pandas as pd

    rows = pd.read_csv(out / "scale.csv")
    table = rows.groupby(["method", "clients"]).median(numeric_only=True).reset_index()
    draw(table, out)
    machine = json.loads((out / "environment.json").read_text())
    lines = [
        "| method | clients | round, CPU s (p10–p90) | against 1,000 | round, wall s | checkpoint, CPU s "
        "| checkpoint, KB | first round: wall s, CPU s | own memory, MiB | peak RSS, MiB |",
        "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in table.itertuples():
        base = table[(table["method"] == row.method) & (table["clients"] == table["clients"].min())].iloc[0]
        lines.append(
            f"| {row.method} | {row.clients:,} | {row.round_cpu_s:.3f} ({row.round_cpu_p10_s:.3f}–"
            f"{row.round_cpu_p90_s:.3f}) | {row.round_cpu_s / base['round_cpu_s']:.2f} | {row.round_s:.2f} "
            f"| {row.checkpoint_cpu_s:.4f} | {row.checkpoint_bytes / 1000:,.0f} "
            f"| {row.first_round_s:.1f}, {row.first_round_cpu_s:.1f} "
            f"| {row.RssAnon_mib + row.RssShmem_mib:.0f} | {row.peak_rss_mib:.0f} |"
        )
    template = (Path(__file__).parent / "scale_page.md").read_text(encoding="utf-8")
    (out / "README.md").write_text(
        template.format(
            table="\n".join(lines), cpu=machine["cpu"], cores=machine["cores"], commit=machine["commit"][:12],
            load=machine["load"][0], torch=machine["torch"], repeats=rows["repeat"].max() + 1,
            started=machine["started"],
        ),
        encoding="utf-8",
    )  # fmt: skip


def draw(table: pd.DataFrame, out: Path) -> None:  # type: ignore[name-defined]  # noqa: F821
    """Seconds a round, bytes and seconds a checkpoint, memory: each against the number of clients."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    panels = (
        ("round_cpu_s", 1, "CPU seconds a round"),
        ("checkpoint_bytes", 1e-3, "KB a checkpoint"),
        ("own", 1, "MiB of its own memory"),
    )
    table = table.assign(own=table["RssAnon_mib"] + table["RssShmem_mib"])
    plt.rcParams.update({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "scale"})
    figure, axes = plt.subplots(1, 3, figsize=(7.16, 2.3), constrained_layout=True)
    for ax, (column, scale, name) in zip(axes, panels, strict=True):
        for method, own in table.groupby("method"):
            ax.plot(own["clients"], scale * own[column], marker=MARKS[method], color=COLOURS[method], label=method)
        ax.set(xscale="log", xlabel="clients", title=name)
        ax.set_ylim(bottom=0)
    axes[0].legend(frameon=False)
    for kind in ("png", "svg"):
        figure.savefig(out / f"figure.{kind}", dpi=200, metadata={"Date": None} if kind == "svg" else None)
