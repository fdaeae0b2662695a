"""The wheel holds what the commands need, and nothing of the tests."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def names(tmp_path_factory):
    """Files in a wheel built from a copy of the tracked files."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    files = ["setup.py", "pyproject.toml", "README.md", "LICENSE"]
    for package in ("common", "ttrnn", "preprocess", "weights", "experiments", "tests"):
        files += [
            path.relative_to(ROOT).as_posix()
            for path in (ROOT / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        ]
    for name in files:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*command, str(copy)], check=True, capture_output=True)
    (wheel,) = out.glob("ttrnn-*.whl")
    return set(zipfile.ZipFile(wheel).namelist())


def test_every_module_is_in_the_wheel(names):
    """Red when a new sub-package is forgotten: the checkout works, the installed copy does not."""
    for package in ("common", "ttrnn", "preprocess", "weights", "experiments"):
        for path in (ROOT / package).rglob("*.py"):
            assert path.relative_to(ROOT).as_posix() in names


def test_data_files_are_in_the_wheel(names):
    """Red when a report's template or the typing marker is left out."""
    assert {
        "ttrnn/py.typed",
        "weights/imagenet_classes.csv",
    } <= names
    for folder in (
        "experiments/highlights/review/web",
        "experiments/highlights/training/templates",
        "experiments/runs/templates",
    ):
        assert {f"{folder}/{path.name}" for path in (ROOT / folder).iterdir()} <= names


def test_nothing_else_is_in_the_wheel(names):
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.startswith("ttrnn-")} == {
        *("common", "ttrnn", "preprocess", "weights", "experiments")
    }
