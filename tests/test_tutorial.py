"""The notebook of docs/: it uses what is public, and runs from its first cell to its last."""

from __future__ import annotations

import ast
import importlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"
OURS = ("common", "experiments", "preprocess", "ttrnn", "weights")


def code_cells() -> list[dict[str, Any]]:
    cells = json.loads(NOTEBOOK.read_text())["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_cells_are_clean_and_name_public_functions() -> None:
    """Red if a cell does not parse, names what may move, or holds the output of some machine."""
    program = ast.parse("\n".join("".join(cell["source"]) for cell in code_cells()))
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code_cells())
    used = set()
    for node in ast.walk(program):
        if isinstance(node, ast.ImportFrom) and node.module:
            package = node.module.partition(".")[0]
            if package in OURS:
                assert node.module == package
                public = importlib.import_module(package).__all__
                assert {alias.name for alias in node.names} <= set(public)
                used.add(package)
        elif isinstance(node, ast.Import):
            assert not {alias.name.partition(".")[0] for alias in node.names} & set(OURS)
        elif isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_")
    assert used == {"experiments", "ttrnn"}


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch) -> None:
    """Red if a cell raises, the model learns nothing, or no moment is drawn."""
    import nbformat
    from nbclient import NotebookClient

    paths = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=None, kernel_name="python3", resources=resources).execute()
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    printed = ["".join(o.get("text", "") for o in cell.outputs) for cell in cells]
    assert (
        printed[0]
        .strip()
        .endswith("44,236,800 weights of the dense kernel, 3,232 of the tensor train")
    )
    accuracy = float(printed[2].partition(": ")[2].partition(";")[0])
    print(f"accuracy {accuracy}")
    assert accuracy > 0.5  # by chance 0.09
    images = [output.data.get("image/png") for output in cells[-1].outputs if "data" in output]
    assert any(images)
