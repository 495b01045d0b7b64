"""FEMNIST: handwritten digits and letters of 28x28 pixels by some 3,600 writers, who are the clients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field

from selffl_cli.errors import SelfflError

from ..dataset import DataSet, Stage
from ..dealing.pool import Pool, PrepareOptions, draw_clients
from ..reading import hub, images
from ..reading.parquet import columns, parquet_files

REPOSITORY = "flwrlabs/femnist"
SOURCE = f"a folder of the Parquet files of {REPOSITORY}, or hub (the default), which fetches them"
SOURCE_URL = "hub"
NAMED_SOURCES = {"hub": hub.source(REPOSITORY, "its Parquet files and give their folder by --source FOLDER")}
SHAPE = (1, 28, 28)
CLASSES = [*"0123456789", *"ABCDEFGHIJKLMNOPQRSTUVWXYZ", *"abcdefghijklmnopqrstuvwxyz"]
CITATION = (
    "S. Caldas et al.: LEAF: A Benchmark for Federated Settings, 2018; from P. Grother: NIST Special Database 19, 1995"
)


class Options(PrepareOptions):
    clients: int | None = Field(
        None, ge=1, le=10_000_000, description="natural: so many writers, drawn by the seed; default: all."
    )
    partition: str = Field("natural", description="natural: clients are writers; or dealt, as name:option=value,….")


class FEMNIST(DataSet):
    """FEMNIST, 814,000 handwritten characters by some 3,600 writers."""

    options_type = Options
    source = SOURCE
    source_url = SOURCE_URL
    named_sources = NAMED_SOURCES

    def load(self, options: Options, source: Path | None, stage: Stage) -> Pool:
        """x uint8 [n, 1, 28, 28], pixels from 0 (ink) to 255; y int64 [n], one of 62 characters.

        With `clients`, only the images of the writers drawn are decoded.
        """
        if source is None:
            raise ValueError("FEMNIST is never without a source here")
        files = parquet_files(source, "femnist")
        if not files:
            raise SelfflError(f"{source}: has no Parquet files; give {SOURCE}")
        writer, series, y = columns(files, ["writer_id", "hsf_id", "character"])
        names, first, client = np.unique(writer.astype(str), return_index=True, return_inverse=True)
        rows = np.ones(len(y), bool)
        natural = options.partition == "natural"
        notes = {"writers_in_all": len(names)}
        if natural and options.clients is not None:
            drawn, client = draw_clients(client, options.clients, options.seed)
            names, first = names[drawn], first[drawn]
            rows = client >= 0
        x = images.images(files, "image", SHAPE, rows)
        return Pool(
            arrays={"x": x, "y": images.labels(y, len(CLASSES), source)[rows]},
            classes=CLASSES,
            citation=CITATION,
            client=client[rows] if natural else None,
            client_names=[str(name) for name in names] if natural else None,
            client_columns={"group": [f"hsf_{i}" for i in series[first]]} if natural else {},
            features=lambda: images.features(x),
            notes=notes,
            sources=images.sources(files, source),
        )
