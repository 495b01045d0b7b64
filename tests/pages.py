"""The code that pages of the documentation print."""

from __future__ import annotations

import re
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def blocks(page: str) -> list[str]:
    """Every Python block of a page, in order."""
    return re.findall(r"```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)


def files(page: str) -> dict[str, str]:
    """{name: content} of the files that a page says to save."""
    found = re.findall(r"Save it as `([^`]+)`.*?```python\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    return dict(found)
