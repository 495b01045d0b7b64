"""The lock of hashes is that of the versions in constraints.txt."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def pins(text: str) -> dict[str, str]:
    """{normal name: version}"""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


@pytest.mark.skipif(not (ROOT / ".ci" / "requirements.lock").exists(), reason="needs a checkout")
def test_every_pinned_package_has_hashes() -> None:
    lock = (ROOT / ".ci" / "requirements.lock").read_text()
    wanted = pins((ROOT / "constraints.txt").read_text())
    del wanted["torch"]  # its builds differ; see docs/reliability.md
    assert pins(lock) == wanted, "write it anew: .ci/lock"
    entries = [entry for entry in re.split(r"\n(?=\S)", lock) if "==" in entry]
    assert len(entries) == len(wanted) and all("--hash=sha256:" in entry for entry in entries)
