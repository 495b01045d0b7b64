"""What the values of a column say: nothing, a number, or words."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow

# What people and programs write where they have no value.
MISSING = ["", "?", "NA", "N/A", "n/a", "#N/A", "nan", "NaN", "-nan", "NULL", "null", "None"]
NUMBER = r"^[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?$"


def as_text(values: pyarrow.Array) -> pyarrow.Array:
    """The values as text without blanks around it; null where the file has none."""
    import pyarrow
    import pyarrow.compute as pc

    kind = values.type
    if pyarrow.types.is_dictionary(kind):
        values = values.dictionary_decode()
    text = pc.utf8_trim_whitespace(values.cast(pyarrow.string()))
    return pc.if_else(pc.is_in(text, pyarrow.array(MISSING)), None, text)


def as_numbers(values: pyarrow.Array, decimal: str = ".") -> tuple[np.ndarray, str | None, int]:
    """float64 [n], NaN where there is no value; the first value that is no number, if any; and how many are none."""
    import pyarrow
    import pyarrow.compute as pc

    if pyarrow.types.is_integer(values.type) or pyarrow.types.is_floating(values.type):
        return values.cast(pyarrow.float64(), safe=False).to_numpy(zero_copy_only=False), None, 0
    text = as_text(values)
    if decimal == ",":
        text = pc.replace_substring(text, ",", ".")
    bad = pc.invert(pc.match_substring_regex(text, NUMBER))
    count = pc.sum(bad).as_py() or 0
    first = None
    if count:
        first = text.filter(pc.fill_null(bad, False))[0].as_py()
        text = pc.if_else(pc.fill_null(bad, True), None, text)
    return text.cast(pyarrow.float64()).to_numpy(zero_copy_only=False), first, count
