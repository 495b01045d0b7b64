"""The picture of a deal: how many samples each client has, and of which labels."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from selffl_cli.shards import PARTS, Shards

# Paul Tol's "muted" scheme and its pale grey: ten colours that colour-blind readers can tell apart
COLOURS = (
    "#332288", "#88CCEE", "#117733", "#DDCC77", "#CC6677",
    "#AA4499", "#44AA99", "#999933", "#882255", "#DDDDDD",
)  # fmt: skip
PART_COLOURS = ("#0072B2", "#E69F00", "#56B4E9")  # Okabe and Ito; train, validation, test
SEPARATE = 60  # up to so many clients are drawn as separate bars, in order of their index
LEGEND = 20  # more labels than these get a colour scale instead of a legend


def draw(shards: Shards) -> Path:
    """Write summary.png into the shard folder (it is no part of the data); its path."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    style: Any = {
        "font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False,
        "figure.constrained_layout.use": True,
    }  # fmt: skip
    target = shards.path / "summary.png"
    temporary = shards.path / f".summary.{os.getpid()}.png"
    with plt.rc_context(style):
        figure, axes = plt.subplots(2, 1, figsize=(7.16, 4.6))
        try:
            _sizes(axes[0], shards)
            if shards.manifest.classes:
                _labels(figure, axes[1], shards)
            else:
                _variances(axes[1], shards)
            for ax in axes:
                _clients_axis(ax, shards.num_clients)
            figure.savefig(temporary, dpi=200, metadata={"Software": None})
            os.replace(temporary, target)
        finally:
            plt.close(figure)
            temporary.unlink(missing_ok=True)
    return target


def _stack(ax: Any, layers: np.ndarray, colours: list[Any], names: list[str]) -> None:
    """Stacked bars: layers [k, clients]. Many clients are one stepped area a layer, which stays fast and
    sharp.
    """
    clients = layers.shape[1]
    tops = np.vstack([np.zeros(clients), np.cumsum(layers, axis=0)])
    for layer, (colour, name) in enumerate(zip(colours, names, strict=True)):
        low, high = tops[layer], tops[layer + 1]
        if clients <= SEPARATE:
            ax.bar(np.arange(clients), high - low, bottom=low, width=0.85, color=colour, label=name)
        else:
            edges = np.arange(clients + 1) - 0.5
            ax.fill_between(
                edges, np.append(low, low[-1]), np.append(high, high[-1]),
                step="post", color=colour, label=name, linewidth=0,
            )  # fmt: skip


def _sizes(ax: Any, shards: Shards) -> None:
    counts = np.array([shards.clients[f"n_{part}"].to_numpy() for part in PARTS])
    order = np.arange(shards.num_clients)
    if shards.num_clients > SEPARATE:
        order = np.argsort(-counts.sum(axis=0), kind="stable")
    _stack(ax, counts[:, order], list(PART_COLOURS), list(PARTS))
    ax.set_ylabel("samples")
    ax.set_title(f"{shards.manifest.name}: samples of each client", loc="left", fontsize=9)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _labels(figure: Any, ax: Any, shards: Shards) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    mix = np.array(shards.clients["labels"].to_pylist(), dtype=float).T
    mix /= mix.sum(axis=0)
    order = np.arange(shards.num_clients)
    if shards.num_clients > SEPARATE:  # side by side with those of the same main label
        main = mix.argmax(axis=0)
        order = np.lexsort((-mix[main, order], main))
    names, classes = shards.manifest.classes, len(mix)
    few = classes <= len(COLOURS)
    scale = colormaps["cividis"]
    colours = list(COLOURS[:classes]) if few else [scale(i / (classes - 1)) for i in range(classes)]
    _stack(ax, mix[:, order], colours, names)
    ax.set(ylabel="share", ylim=(0, 1))
    ax.set_title("labels of each client", loc="left", fontsize=9)
    if classes <= LEGEND:
        handles, texts = ax.get_legend_handles_labels()  # from the top, as the bars are stacked
        ax.legend(handles[::-1], texts[::-1], loc="upper left", bbox_to_anchor=(1.0, 1.05), fontsize=7)
    else:
        colour_scale = ScalarMappable(Normalize(0, classes - 1), scale)
        figure.colorbar(colour_scale, ax=ax, label=f"label ({names[0]} … {names[-1]})", pad=0.01)


def _variances(ax: Any, shards: Shards) -> None:
    variance = shards.clients["variance"].to_numpy()
    order = np.arange(len(variance)) if len(variance) <= SEPARATE else np.argsort(-variance, kind="stable")
    ax.plot(np.arange(len(variance)), variance[order], "o", markersize=3, color=PART_COLOURS[0])
    ax.set_ylabel("variance $s_m$")
    if variance.max() > 20 * variance.min():
        ax.set_yscale("log")
    else:
        ax.set_ylim(0, 1.1 * variance.max())
    ax.set_title("intra-client variance of each client", loc="left", fontsize=9)


def _clients_axis(ax: Any, clients: int) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.set_xlim(-0.6, clients - 0.4)
    if clients <= 25:
        ax.set_xticks(range(clients))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    sorted_ = "client" if clients <= SEPARATE else "clients, in order of what is shown"
    ax.set_xlabel(sorted_)
