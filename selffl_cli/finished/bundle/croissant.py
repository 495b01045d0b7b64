"""A folder of shards described in Croissant 1.0, the format by which search engines and reviewers know data sets."""

from __future__ import annotations

from typing import Any

from ...shards.manifest import Manifest

CONTEXT = {
    "@language": "en", "@vocab": "https://schema.org/", "citeAs": "cr:citeAs", "column": "cr:column",
    "conformsTo": "dct:conformsTo", "cr": "http://mlcommons.org/croissant/", "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"}, "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/", "examples": {"@id": "cr:examples", "@type": "@json"}, "extract": "cr:extract",
    "field": "cr:field", "fileProperty": "cr:fileProperty", "fileObject": "cr:fileObject", "fileSet": "cr:fileSet",
    "format": "cr:format", "includes": "cr:includes", "isLiveDataset": "cr:isLiveDataset", "jsonPath": "cr:jsonPath",
    "key": "cr:key", "md5": "cr:md5", "parentField": "cr:parentField", "path": "cr:path", "recordSet": "cr:recordSet",
    "references": "cr:references", "regex": "cr:regex", "repeated": "cr:repeated", "replace": "cr:replace",
    "sc": "https://schema.org/", "separator": "cr:separator", "source": "cr:source", "subField": "cr:subField",
    "transform": "cr:transform",
}  # fmt: skip
COLUMNS = {"name": "sc:Text", "group": "sc:Text", "n_train": "sc:Integer", "n_validation": "sc:Integer",
           "n_test": "sc:Integer"}  # fmt: skip
KINDS = {".parquet": "application/x-parquet", ".safetensors": "application/octet-stream"}


def croissant(manifest: Manifest, published: str) -> dict[str, Any]:
    """The description of the shards; `published` is the date, such as 2026-11-28."""
    made_from = "; ".join(f"{source.name} (sha256 {source.sha256})" for source in manifest.sources)
    return {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "name": manifest.name,
        "description": (
            f"{manifest.name}, dealt to {manifest.clients} clients ({manifest.partition}) for federated learning by "
            f"selffl, with {manifest.samples.train} training, {manifest.samples.validation} validation and "
            f"{manifest.samples.test} test samples. Made from {made_from or 'random draws, without a source'}."
        ),
        "citeAs": manifest.citation,
        "license": "The terms of the source hold; see the citation.",
        "url": "https://github.com/selffl/selffl",
        "version": "1.0.0",
        "datePublished": published,
        "distribution": [_file(name, digest) for name, digest in sorted(manifest.files.items())],
        "recordSet": [
            {
                "@type": "cr:RecordSet", "@id": "clients", "name": "clients",
                "description": "One row a client, with the sizes of its parts.",
                "field": [_column(name, kind) for name, kind in COLUMNS.items()],
            }
        ],
    }  # fmt: skip


def _file(name: str, digest: str) -> dict[str, Any]:
    kind = next((kind for ending, kind in KINDS.items() if name.endswith(ending)), "application/octet-stream")
    return {
        "@type": "cr:FileObject", "@id": name, "name": name, "contentUrl": name, "encodingFormat": kind,
        "sha256": digest,
    }  # fmt: skip


def _column(name: str, kind: str) -> dict[str, Any]:
    source = {"fileObject": {"@id": "clients.parquet"}, "extract": {"column": name}}
    return {"@type": "cr:Field", "@id": f"clients/{name}", "name": name, "dataType": kind, "source": source}
