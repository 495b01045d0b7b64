"""How far clients differ in their labels: Jensen-Shannon divergences between them, as FedNLP pictures them.

0 is the same mix of labels, 1 (in bits) no label in common. Lin et al., "FedNLP" (Findings of NAACL 2022), section 3.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from selffl_cli.files.atomic import write_whole
from selffl_cli.shards import Shards

from .summary import label_table

SHOWN = 200  # clients in the picture; of more, so many are taken evenly from the order by main label


def divergences(labels: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence in bits between every two rows of label counts [K, classes] → [K, K]."""
    from scipy.spatial.distance import jensenshannon

    mix = labels / labels.sum(axis=1, keepdims=True)
    distance = np.stack([jensenshannon(row[None], mix, base=2, axis=1) for row in mix])  # scipy's is the square root
    return np.nan_to_num(distance) ** 2  # of two equal mixes rounding may leave the root of a negative number


def chosen_clients(labels: np.ndarray, most: int = SHOWN) -> np.ndarray:
    """At most `most` clients in order of their main label, the purest of each first."""
    mix = labels / labels.sum(axis=1, keepdims=True)
    order = np.lexsort((-mix.max(axis=1), mix.argmax(axis=1)))
    if len(order) <= most:
        return order
    return order[np.linspace(0, len(order) - 1, most).round().astype(int)]


def label_counts(shards: Shards) -> np.ndarray | None:
    """Label counts of every client [clients, classes]; None where there is nothing to compare."""
    if len(shards.manifest.classes) < 2 or shards.num_clients < 2:
        return None
    labels = label_table(shards).astype(float)
    return labels if labels.sum(axis=1).min() > 0 else None


def draw(shards: Shards) -> tuple[Path, float] | None:
    """Write divergence.png into the shard folder (it is no part of the data): its path, and the mean over pairs."""
    labels = label_counts(shards)
    if labels is None:
        return None
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    shown = chosen_clients(labels)
    matrix = divergences(labels[shown])
    pairs = matrix[~np.eye(len(shown), dtype=bool)]
    style: Any = {"font.size": 8, "figure.constrained_layout.use": True}
    target, picture = shards.path / "divergence.png", io.BytesIO()
    with plt.rc_context(style):
        figure, ax = plt.subplots(figsize=(4.2, 3.6))
        try:
            image = ax.imshow(matrix, cmap="cividis", vmin=0, vmax=1, interpolation="nearest")
            figure.colorbar(image, ax=ax, label="Jensen-Shannon divergence (bits)")
            of = "" if len(shown) == len(labels) else f", {len(shown)} of {len(labels):,}"
            ax.set(xlabel=f"client, by main label{of}", ylabel="client", xticks=[], yticks=[])
            ax.set_title(f"{shards.manifest.name}: mean {pairs.mean():.2f} between clients", loc="left", fontsize=9)
            figure.savefig(picture, dpi=200, metadata={"Software": None}, format="png")
        finally:
            plt.close(figure)
    write_whole(target, picture.getvalue())
    return target, float(pairs.mean())
