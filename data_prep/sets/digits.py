"""The 1,797 handwritten digits of 8x8 pixels that scikit-learn carries: real data that needs no download."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field

from ..dataset import DataSet, Stage
from ..dealing.pool import PARTITION_HELP, Pool, PrepareOptions

CITATION = (
    "E. Alpaydin, C. Kaynak: Optical Recognition of Handwritten Digits, UCI Machine Learning Repository, "
    "1998 (doi:10.24432/C50P49); the test set of that collection, as scikit-learn carries it"
)


class Options(PrepareOptions):
    clients: int | None = Field(20, ge=1, le=10_000_000, description="Number of clients.")
    partition: str = Field("dirichlet:alpha=1", description=PARTITION_HELP)


class Digits(DataSet):
    """1,797 handwritten digits that scikit-learn carries; no download."""

    options_type = Options

    def load(self, options: Options, source: Path | None, stage: Stage) -> Pool:
        """x float32 [1797, 64], pixels scaled from 0..16 to 0..1; y int64 [1797], the digit."""
        import sklearn
        from sklearn.datasets import load_digits

        from selffl_cli.shards import sha256

        pixels, digits = load_digits(return_X_y=True)
        file = Path(sklearn.__file__).parent / "datasets" / "data" / "digits.csv.gz"
        return Pool(
            arrays={"x": (pixels / 16).astype(np.float32), "y": digits.astype(np.int64)},
            classes=[str(digit) for digit in range(10)],
            citation=CITATION,
            sources=[{"name": "scikit-learn digits.csv.gz", "sha256": sha256(file)}] if file.is_file() else [],
        )
