"""What a run leaves of a detection task: the score of every validation and test sample."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from . import SCORES
from .files import write_whole

if TYPE_CHECKING:
    from ..engine.flat import DevicePart, FlatModel
    from ..shards import Shards


def scored_by_speaker(shards: Shards) -> bool:
    """Whether a run on these shards leaves scores: two classes, and samples that say who is heard."""
    return len(shards.manifest.classes) == 2 and "speaker" in shards.part("test").arrays


def write_scores(
    folder: Path, shards: Shards, model: FlatModel, parts: dict[str, DevicePart], theta: Tensor | None,
    personal: Tensor | None,
) -> None:  # fmt: skip
    """scores.parquet, a row a sample and model: part, client, model, label, speaker and score.

    The score is the log-odds of class 1 (the difference of the two logits): probabilities would be 1.0 for many
    samples that are told apart by it. Only for shards that are scored by speaker; `theta` [P], `personal` [M, P].
    """
    if not scored_by_speaker(shards):
        return
    import pyarrow as pa
    import pyarrow.parquet as parquet

    from ..engine.evaluation import batch

    tables = []
    for name in ("validation", "test"):
        if name not in parts:
            continue
        part, speakers = parts[name], shards.part(name).arrays["speaker"]
        for client in range(shards.num_clients):
            x, y = part.client(client)
            rows = speakers[part.offsets[client] : part.offsets[client + 1]]
            for kind, vector in (("global", theta), ("personal", None if personal is None else personal[client])):
                if vector is None or not len(y):
                    continue
                size = batch(x)
                score = torch.cat([log_odds(model.outputs(vector, x[i : i + size])) for i in range(0, len(y), size)])
                tables.append(pa.table({
                    "part": [name] * len(y), "client": pa.array([client] * len(y), pa.int32()),
                    "model": [kind] * len(y), "label": pa.array(y.tolist(), pa.int8()),
                    "speaker": pa.array(rows.tolist(), pa.int32()), "score": score.float().cpu().numpy(),
                }))  # fmt: skip
    buffer = io.BytesIO()
    parquet.write_table(pa.concat_tables(tables), buffer, compression="zstd")
    write_whole(folder / SCORES, buffer.getvalue())


def log_odds(outputs: Tensor) -> Tensor:
    """Of class 1 against class 0, from two logits [B, 2] or a single one [B, 1]: [B]."""
    return outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]
