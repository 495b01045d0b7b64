"""Client shards: one folder that holds a data set as it was dealt to clients.

    manifest.json          name, arguments, sources, counts, citation and the sha256 of every file below
    clients.parquet        a row a client: client, name, group, n_train, n_validation, n_test, labels, …
    train.safetensors      arrays ordered by client, and `offsets` [clients + 1]; so for validation and test.
                           With periods also `period` [n], by which the samples of a client are ordered
    shared.safetensors     optional arrays that belong to no client (word vectors, a true centre)

A folder is written beside its place, made durable and renamed, so one that exists is whole. Nothing is
unpickled.
"""

from .manifest import FORMAT_VERSION, PARTS, PERIODS_VERSION, Input, Manifest, Samples, Source, read_manifest, sha256
from .reader import Part, Shards
from .writer import ShardData, remove_leftovers, write_shards

__all__ = [
    "FORMAT_VERSION",
    "PARTS",
    "PERIODS_VERSION",
    "Input",
    "Manifest",
    "Part",
    "Samples",
    "ShardData",
    "Shards",
    "Source",
    "read_manifest",
    "remove_leftovers",
    "sha256",
    "write_shards",
]
