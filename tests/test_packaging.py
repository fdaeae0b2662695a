"""The wheel holds what the commands need, and nothing of the tests."""

import ast
import importlib.metadata
import os
import re
import runpy
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import setuptools

from common.extras import EXTRAS
from tests.architecture import PACKAGES, read_files

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


def test_one_version_stands_everywhere(names):
    """Red when a release forgets a place, or the container a package or the pinned versions."""
    changes = (ROOT / "CHANGELOG.md").read_text()
    version, date = re.search(r"^## ([\d.]+), ([\d-]+)$", changes, re.MULTILINE).groups()
    citation = (ROOT / "CITATION.cff").read_text()
    assert f"\nversion: {version}\n" in citation
    assert f"\ndate-released: {date}\n" in citation
    assert f"ttrnn-{version}.dist-info/METADATA" in names

    container = (ROOT / "container" / "Dockerfile").read_text()
    copied = set(re.findall(r"^COPY (.+) \S+$", container, re.MULTILINE))
    assert copied >= set(PACKAGES)
    assert "-c constraints.txt '.[all]'" in container
    allowed = (ROOT / "container" / "Dockerfile.dockerignore").read_text().splitlines()
    for name in {name for line in copied if not line.startswith("-") for name in line.split()}:
        assert f"!{name}" in allowed, name


def test_the_extra_of_every_library_is_the_one_of_setup_py(monkeypatch):
    """Red when `common.extras` names an extra that does not bring the library, or not by itself.

    Which distribution has a module is what the installed ones say.
    """
    arguments = {}
    monkeypatch.setattr(setuptools, "setup", arguments.update)
    runpy.run_path(str(ROOT / "setup.py"))
    homes = importlib.metadata.packages_distributions()
    extras = {
        extra: {canonical(requirement) for requirement in requirements}
        for extra, requirements in arguments["extras_require"].items()
    }
    for extra, modules in EXTRAS.items():
        for module in modules:
            if module not in ("distributed", "fastapi", "uvicorn", "mlflow"):  # of others
                assert {canonical(name) for name in homes.get(module, [module])} & extras[extra], (
                    module
                )
        # The commands that need an extra need what all commands do: one extra is enough.
        assert extras["video"] <= extras[extra]
        if extra not in ("pandas", "mlflow"):
            assert extras[extra] <= extras["all"] <= extras["test"]


def test_every_library_is_in_an_extra_or_in_the_light_installation():
    """Red when a product file imports a library that nobody is told how to install."""
    light = {"keras", "numpy", "threadpoolctl", "tqdm", "typeguard", "tyro"}
    backends_and_peers = {"jax", "torch", "transformers", "tednet"}
    files = read_files()
    known = light.union(backends_and_peers, PACKAGES, sys.stdlib_module_names, *EXTRAS.values())
    found = {
        module: name
        for name, file in files.items()
        for node in ast.walk(file.tree)
        for module in imported_modules(node)
    }
    assert not {module: name for module, name in found.items() if module not in known}


def imported_modules(node):
    """Top-level names that an import statement imports from elsewhere."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return {node.module.split(".")[0]}
    return set()


def canonical(requirement):
    """Name of a requirement as PyPI compares names."""
    return re.sub(r"[-_.]+", "-", re.match(r"[\w.-]+", requirement)[0]).lower()


def test_the_layers_load_no_network_and_no_other_backend():
    """Red when `import ttrnn` builds on what a light installation lacks."""
    program = (
        "import sys, ttrnn; print([name for name in sys.modules "
        "if name.startswith(('ttrnn.models', 'tensorflow', 'av', 'onnx', 'common'))])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize("command", ["experiments.ucf11", "preprocess", "weights"])
def test_a_clone_without_its_environment_says_so(command):
    """Red if the system's Python, in a clone, ends in a traceback of the first library."""
    # -S leaves the installed packages out.
    args = [sys.executable, "-S", "-m", command, "--help"]
    done = subprocess.run(args, cwd=ROOT, capture_output=True, text=True, env={"LC_ALL": "C"})
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert sys.executable in line
    assert "activate" in line
