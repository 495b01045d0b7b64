"""docs/first-steps.ipynb from its first cell to its last, in a fresh folder; it shows what it was saved with."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from pages import DOCS

nbformat = pytest.importorskip("nbformat", reason="needs nbclient: pip install 'selffl[test]'")
nbclient = pytest.importorskip("nbclient", reason="needs nbclient: pip install 'selffl[test]'")
pytest.importorskip("ipykernel", reason="needs ipykernel: pip install 'selffl[test]'")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # of the client's own event loop
]
NOTEBOOK = DOCS / "first-steps.ipynb"


def shown(notebook: Any) -> list[str]:
    """The kind of what each cell shows."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [kind for cell in cells for output in cell.outputs for kind in sorted(output.get("data", {}))]


def test_the_notebook_runs_and_shows_what_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    saved = shown(notebook)
    assert saved.count("image/png") == 4 and "text/html" in saved
    assert NOTEBOOK.stat().st_size < 300_000
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(DOCS.parent), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "none"))
    runner = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    runner.create_kernel_manager()
    runner.km.kernel_spec.argv[0] = sys.executable
    runner.execute()
    assert shown(notebook) == saved
    said = [output for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == "error"]
    assert not said and len(list((tmp_path / "runs" / "digits").glob("*/result.json"))) == 6
