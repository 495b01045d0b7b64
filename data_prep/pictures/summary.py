"""The picture of a deal: how many samples each client has, and of which labels."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from selffl_cli.files.atomic import write_whole
from selffl_cli.shards import PARTS, Shards

# Paul Tol's "muted" scheme and its pale grey: ten colours that colour-blind readers can tell apart
COLOURS = (
    "#332288", "#88CCEE", "#117733", "#DDCC77", "#CC6677",
    "#AA4499", "#44AA99", "#999933", "#882255", "#DDDDDD",
)  # fmt: skip
PART_COLOURS = ("#0072B2", "#E69F00", "#56B4E9")  # Okabe and Ito; train, validation, test
SEPARATE = 60  # up to so many clients are drawn as separate bars, in order of their index
DRAWN = 4000  # of more clients evenly spaced ones are drawn
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
    target, picture = shards.path / "summary.png", io.BytesIO()
    with plt.rc_context(style):
        figure, axes = plt.subplots(2, 1, figsize=(7.16, 4.6))
        try:
            if shards.manifest.task == "gaussian":
                _truths(axes[0], shards)
                _variances(axes[1], shards)
            else:
                _sizes(axes[0], shards)
                if shards.manifest.task == "regression":
                    _targets(axes[1], shards)
                else:
                    _labels(figure, axes[1], shards)
            figure.savefig(picture, dpi=200, metadata={"Software": None}, format="png")
        finally:
            plt.close(figure)
    write_whole(target, picture.getvalue())
    return target


def label_table(shards: Shards) -> np.ndarray:
    """Samples of each label that each client has [clients, classes]."""
    labels = shards.clients["labels"].combine_chunks()
    return labels.flatten().to_numpy().reshape(len(labels), -1)


def _thin(layers: np.ndarray) -> np.ndarray:
    """At most DRAWN of many clients, which are in order: a picture has no more columns to show."""
    clients = layers.shape[-1]
    return layers[..., np.linspace(0, clients - 1, min(clients, DRAWN)).round().astype(int)]


def _stack(ax: Any, layers: np.ndarray, colours: list[Any], names: list[str]) -> None:
    """Stacked bars: layers [k, clients]. Many clients are one stepped area a layer, which stays fast and
    sharp.
    """
    clients = layers.shape[1]
    layers = _thin(layers)
    tops = np.vstack([np.zeros(layers.shape[1]), np.cumsum(layers, axis=0)])
    for layer, (colour, name) in enumerate(zip(colours, names, strict=True)):
        low, high = tops[layer], tops[layer + 1]
        if clients <= SEPARATE:
            ax.bar(np.arange(clients), high - low, bottom=low, width=0.85, color=colour, label=name)
        else:
            edges = np.linspace(0, clients, layers.shape[1] + 1) - 0.5
            ax.fill_between(
                edges, np.append(low, low[-1]), np.append(high, high[-1]),
                step="post", color=colour, label=name, linewidth=0,
            )  # fmt: skip


def _sizes(ax: Any, shards: Shards) -> None:
    counts = np.array([shards.clients[f"n_{part}"].to_numpy() for part in PARTS])
    order = _clients_axis(ax, -counts.sum(axis=0), "largest first")
    _stack(ax, counts[:, order], list(PART_COLOURS), list(PARTS))
    ax.set_ylabel("samples")
    ax.set_ylim(bottom=0)
    ax.set_title(f"{shards.manifest.name}: samples of each client", loc="left", fontsize=9)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _targets(ax: Any, shards: Shards) -> None:
    """The mean of the number to predict over each client's training samples, and where their middle half lies."""
    part = shards.part("train")
    y = part.arrays["y"].numpy()
    cells = [y[begin:end] for begin, end in pairwise(part.offsets)]
    low, middle, high = (np.array([np.quantile(own, q) for own in cells]) for q in (0.25, 0.5, 0.75))
    order = _clients_axis(ax, middle, "by median")
    bars = np.stack([low, middle, high])[:, order]
    bars = _thin(bars)
    at = np.linspace(0, len(cells) - 1, bars.shape[1])
    ax.vlines(at, bars[0], bars[2], color=PART_COLOURS[0], linewidth=1, label="middle half of its samples")
    ax.plot(at, bars[1], ".", color="black", markersize=3, label="median")
    ax.set_ylabel("number to predict\n(standard deviations)")
    ax.set_title("the number to predict, by client", loc="left", fontsize=9)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _labels(figure: Any, ax: Any, shards: Shards) -> None:
    from matplotlib import colormaps
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    mix = label_table(shards).astype(float).T
    mix /= mix.sum(axis=0)
    if len(mix) == 2:
        order = _clients_axis(ax, -mix[0], f"by share of {shards.manifest.classes[0]}")
    else:  # those of the same main label side by side, the purest first
        main = mix.argmax(axis=0)
        order = _clients_axis(ax, main + 0.999 * (1 - mix.max(axis=0)), "by main label")
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


def _truths(ax: Any, shards: Shards) -> None:
    from safetensors.numpy import load_file

    observed, truth = (load_file(shards.path / f"{part}.safetensors")["x"][:, 0] for part in ("train", "test"))
    order = _clients_axis(ax, -truth, "largest $\\theta_m$ first")
    size = 5 if len(order) <= SEPARATE else 2
    clients, order = _thin(np.arange(len(order))), _thin(order)
    ax.plot(clients, observed[order], "x", markersize=size, color=PART_COLOURS[1], label="observed $z_m$")
    ax.plot(clients, truth[order], "o", markersize=0.8 * size, color=PART_COLOURS[0], label="true $\\theta_m$")
    centre = float(load_file(shards.path / "shared.safetensors")["theta_0"][0])
    ax.axhline(centre, color="black", linewidth=0.8, linestyle="--", label="centre $\\theta_0$")
    ax.set_ylabel("value (first dimension)")
    ax.set_title(f"{shards.manifest.name}: what is true and what is seen", loc="left", fontsize=9)
    ax.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _variances(ax: Any, shards: Shards) -> None:
    variance = shards.clients["variance"].to_numpy()
    order = _clients_axis(ax, -variance, "largest first")
    clients, order = _thin(np.arange(len(variance))), _thin(order)
    ax.plot(clients, variance[order], "o", markersize=3, color=PART_COLOURS[0])
    ax.set_ylabel("variance $s_m$")
    if variance.max() > 20 * variance.min():
        ax.set_yscale("log")
    else:
        ax.set_ylim(0, 1.1 * variance.max())
    ax.set_title("intra-client variance of each client", loc="left", fontsize=9)


def _clients_axis(ax: Any, rank: np.ndarray, words: str) -> np.ndarray:
    """Prepare the axis of clients; their order: by index when they are few, else by `rank`."""
    from matplotlib.ticker import MaxNLocator

    clients = len(rank)
    ax.set_xlim(-0.6, clients - 0.4)
    if clients <= 25:
        ax.set_xticks(range(clients))
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.set_xlabel("client" if clients <= SEPARATE else f"clients, {words}")
    return np.arange(clients) if clients <= SEPARATE else np.argsort(rank, kind="stable")
