"""Extensions of the site: sections "Example:" of docstrings, and the notebook as a page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File, Files


class ExampleSections(griffe.Extension):
    """Rename sections, so that `>>>` lines are shown as code and not as quotations."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Change the docstring of a class or function after it was read."""
        if obj.docstring is not None:
            text = obj.docstring.value
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)

    def on_module(self, *, mod: griffe.Module, **kwargs: Any) -> None:
        """Change the docstring of a module, whose examples stand outside of a section."""
        if mod.docstring is not None:
            text = mod.docstring.value
            mod.docstring.value = re.sub(
                r"^((?:>>> .*\n(?:(?!>>>).+\n?)*)+)", r"```pycon\n\1```\n", text, flags=re.MULTILINE
            )


def on_files(files: Files, *, config: Any) -> Files:
    """Add tutorial.md, which shows the notebook's cells; the notebook itself stays a download."""
    notebook = json.loads(Path(config.docs_dir, "tutorial.ipynb").read_text(encoding="utf-8"))
    parts = ["To run it, open [tutorial.ipynb](tutorial.ipynb) in Jupyter."]
    for cell in notebook["cells"]:
        text = "".join(cell["source"])
        parts.append(text if cell["cell_type"] == "markdown" else f"```python\n{text}\n```")
    parts[:2] = parts[1::-1]  # the notebook's own heading stands first
    files.append(File.generated(config, "tutorial.md", content="\n\n".join(parts)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **kwargs: Any) -> str:
    """Let links to the notebook lead to its page, but for that page's own."""
    if page.file.src_uri == "tutorial.md":
        return markdown
    return markdown.replace("(tutorial.ipynb)", "(tutorial.md)")
