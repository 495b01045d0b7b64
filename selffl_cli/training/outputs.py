"""What a finished run leaves for others: a row a client, and the models."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from ..files.atomic import write_whole
from ..runs.folder import CLIENTS, MODELS, PARTICIPATIONS, SCORES
from .federation import scored_by_speaker

if TYPE_CHECKING:
    from ..engine.evaluation import Sums
    from ..engine.flat import DevicePart, FlatModel
    from ..engine.store import ClientStore
    from ..metrics.metric import Metric
    from ..shards import Shards
    from .judge import Judge


def write_clients(
    folder: Path,
    shards: Shards,
    sums: dict[str, Sums],
    judge: Judge,
    metric: Metric,
    store: ClientStore,
    more: dict[str, np.ndarray] | None = None,
) -> None:
    """clients.parquet: sizes, sums of scores and losses by part and model, and the method's scalars a client.

    Of a language model the sums are negative log-likelihoods (`nll`), and `PART_words` says over how many words.
    Figures of clients that were not judged are null. `more`: whole numbers of each client, by column [M].
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    def column(values: np.ndarray) -> object:
        """The numbers as they lie in memory: asked to look at an array, pyarrow imports pandas (50 MB, 0.4 s)."""
        values = np.ascontiguousarray(values)
        return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])

    def spread(values: np.ndarray) -> object:
        """[E] → one entry a client."""
        if judge.roles.everyone:
            return column(values)
        wide = np.full(store.num_clients, np.nan)
        wide[judge.roles.scored] = values
        return pa.array(wide, from_pandas=True)

    names = ["client", "name", "group", "n_train", "n_validation", "n_test"]
    with parquet.ParquetFile(shards.path / "clients.parquet") as file:  # read_table would import pandas
        table = file.read(columns=names)
    columns: dict[str, object] = {name: table[name] for name in names}
    for kind, parts in sums.items():
        for part, values in parts.items():
            columns[f"{part}_{kind}_{metric.sum_column}"] = spread(values[0])
            columns[f"{part}_{kind}_loss"] = spread(values[1])
            for further, summed in zip(judge.metrics[1:], values[2:], strict=True):
                columns[f"{part}_{kind}_{further.sum_column}"] = spread(summed)
    for place, one in enumerate(judge.metrics):
        if one.count_column:
            columns |= {f"{part}_{one.count_column}": spread(values[place]) for part, values in judge.units.items()}
    everyone = torch.arange(store.num_clients)
    columns[PARTICIPATIONS] = column(store.read(PARTICIPATIONS, everyone).cpu().numpy())
    for name, row in store.initial.items():
        if row.dim() == 0 and row.is_floating_point():
            written = store.has(name, everyone).cpu().numpy()
            columns[name] = column(np.where(written, store.read(name, everyone).double().cpu().numpy(), np.nan))
    columns |= {name: column(values) for name, values in (more or {}).items()}
    buffer = io.BytesIO()
    parquet.write_table(pa.table(columns), buffer)
    write_whole(folder / CLIENTS, buffer.getvalue())


def write_models(
    folder: Path,
    global_: dict[str, Tensor],
    personal: Tensor | None,
    layout: dict[str, tuple[int, ...]],
    delivered: Tensor | None = None,
) -> None:
    """models.safetensors: "global/NAME" tensors, "personal" [M, P] flat in the order of the metadata's layout."""
    tensors = {f"global/{name}": value.cpu().contiguous() for name, value in global_.items()}
    if personal is not None:
        tensors["personal"] = personal
    if delivered is not None:
        tensors["delivered"] = delivered
    metadata = {"layout": json.dumps({name: list(shape) for name, shape in layout.items()})}
    write_whole(folder / MODELS, save(tensors, metadata))


def write_scores(
    folder: Path, shards: Shards, model: FlatModel, parts: dict[str, DevicePart], clients: np.ndarray,
    theta: Tensor | None, personal: Tensor | None,
) -> None:  # fmt: skip
    """scores.parquet, a row a sample of `clients` and model: part, client, model, label, speaker and score.

    The score is the log-odds of class 1 (the difference of the two logits): probabilities would be 1.0 for many
    samples that are told apart by it. Only for shards that are scored by speaker; `theta` [P], `personal` [M, P].
    There is no file where no model was kept or no client has a sample.
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
        for client in clients.tolist():
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
    if not tables:
        return
    buffer = io.BytesIO()
    parquet.write_table(pa.concat_tables(tables), buffer, compression="zstd")
    write_whole(folder / SCORES, buffer.getvalue())


def log_odds(outputs: Tensor) -> Tensor:
    """Of class 1 against class 0, from two logits [B, 2] or a single one [B, 1]: [B]."""
    return outputs[:, 0] if outputs.shape[1] == 1 else outputs[:, 1] - outputs[:, 0]
