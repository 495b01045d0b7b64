"""Every parser that is ours, by name. A new one is a Parser in one of these files."""

from __future__ import annotations

from ..parser import Parser
from . import experiments, runs, shards, sources, words

PARSERS: dict[str, Parser] = {
    parser.name: parser for module in (shards, runs, experiments, sources, words) for parser in module.PARSERS
}
