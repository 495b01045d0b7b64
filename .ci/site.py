"""A hook of mkdocs: results/ stands beside the pages of docs/, as it does in the repository."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.structure.files import File

RESULTS = Path(__file__).parents[1] / "results"
SHOWN = {".md", ".png", ".csv", ".tex", ".html"}


def on_files(files, config):
    """Every page, picture and table of results/ becomes a file of the site."""
    for path in sorted(RESULTS.rglob("*")):
        if path.suffix in SHOWN and path.is_file():
            name = f"results/{path.relative_to(RESULTS).as_posix()}"
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown, page, config, files):
    """docs/ is the root of the site: links from it to results/ and back lose a step."""
    if page.file.src_uri.startswith("results/"):
        return re.sub(r"\]\(((?:\.\./)+)docs/", r"](\1", markdown)
    return markdown.replace("](../results/", "](results/").replace('"../results/', '"results/')
