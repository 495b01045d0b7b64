"""One parser under atheris, guided by the coverage of this project's code (pip install -r fuzz/requirements.txt).

    python -m fuzz.cover clients.csv --seconds 120

Stops with the input and the traceback at the first one that is neither read nor refused in one line. The corpus that
grew is kept in fuzz-failures/corpus-PARSER and taken up again.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from pathlib import Path

import atheris


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("parser", metavar="PARSER")
    arguments.add_argument("--seconds", type=int, default=120)
    asked = arguments.parse_args()
    with atheris.instrument_imports(include=["selffl_cli", "data_prep", "tomllib", "csv", "zipfile", "tarfile"]):
        from .mutate import FAILURES, judge
        from .mutator import mutate
        from .parsers import PARSERS
    parser = PARSERS[asked.parser]
    place = Path(tempfile.mkdtemp(prefix="selffl-fuzz-"))
    good, folder = place / "good", place / "in"
    good.mkdir()
    parser.make(good)
    content = (good / parser.file).read_bytes()
    corpus = FAILURES / f"corpus-{parser.name}"
    corpus.mkdir(parents=True, exist_ok=True)
    (corpus / "good").write_bytes(content)
    rng = random.Random(0)
    for number in range(20):
        (corpus / f"changed-{number}").write_bytes(mutate(content, rng, parser.words))
    shutil.copytree(good, folder)

    def once(data: bytes) -> None:
        (folder / parser.file).write_bytes(data)
        parser.mend(folder)
        what = judge(parser, folder)
        if what not in ("valid", "refused"):
            (FAILURES / parser.name).write_bytes(data)
            raise RuntimeError(what)

    limits = [f"-max_total_time={asked.seconds}", "-timeout=10", "-rss_limit_mb=4096", f"-max_len={8 * len(content)}"]
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={FAILURES}/", str(corpus)], once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
