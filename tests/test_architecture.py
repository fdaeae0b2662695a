"""House rules that a machine can keep: who imports whom, a light start, nothing unsafe."""

import ast
import json
import subprocess
import sys
from functools import cache

import pytest

from common.extras import EXTRAS

from .architecture import (
    PACKAGES,
    ROOT,
    file_circles,
    function_imports,
    loaded_packages,
    private_names,
    read_files,
    splats,
    upward_imports,
)

HEAVY = {"keras", "jax", "torch", "pandas", "transformers"}
# A command prints its help although an extra is missing, and says which one when it runs.
HEAVY = HEAVY.union(*EXTRAS.values())
NO_COMMANDS = {  # run as programs, but not by a person who asks for help
    "experiments.threads.measurement",  # one measurement, which `experiments.threads` starts
    "preprocess.benchmark",  # measures OpenCV and h5py themselves
}


# What still breaks the rules; the numbers only go down.
MAX_CIRCLES, MAX_UPWARD, MAX_SPLATS, MAX_FUNCTION_IMPORTS = 0, 0, 0, 40


def modules(package):
    return sorted((ROOT / package).rglob("*.py"))


@cache
def tree_of(path):
    """Syntax tree of a file, parsed once for all rules; nobody alters it."""
    return ast.parse(path.read_text())


def imported(path):
    """Top-level packages of ours that a file imports, at its head or in a function."""
    names = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return {name.split(".")[0] for name in names}


@pytest.fixture(scope="module")
def files():
    return read_files()


def test_no_file_imports_itself_through_others(files):
    """Red when two files need each other; they are one, or a third holds what they share."""
    found = file_circles(files)
    assert len(found) <= MAX_CIRCLES, found


def test_imports_point_down(files):
    """Red when a layer reads files, a loader builds a model, or one command needs another."""
    found = upward_imports(files)
    assert len(found) <= MAX_UPWARD, found


def test_calls_are_written_out(files):
    """Red when a tuple is unpacked into a call, for the sake of the formatter alone."""
    found = splats(files)
    assert len(found) <= MAX_SPLATS, found


def test_imports_stand_at_the_top(files):
    """Red when a heavy file hides what it needs in a function."""
    found = function_imports(files)
    assert len(found) <= MAX_FUNCTION_IMPORTS, len(found)


def test_names_are_the_usual_words(files):
    """Red when a name has a word that means something in this repository alone."""
    assert not private_names(files)


def test_tensorflow_waits_for_its_threads(files):
    """Red when a job imports TensorFlow at its top, before it has set thread pools and backend."""
    for name, file in files.items():
        calls = [node for node in ast.walk(file.tree) if isinstance(node, ast.Call)]
        called = {ast.unparse(call.func) for call in calls}
        if called & {"runtime.configure", "begin_run"}:
            assert not loaded_packages(name, files) & {"tensorflow", "keras"}, name


SHARDS = ["preprocess/shards/schema.py", "preprocess/shards/writer.py"]


@pytest.mark.parametrize(
    ("library", "homes"),
    [
        ("h5py", ["preprocess/shards/chunks.py", "preprocess/shards/hdf5_check.py", *SHARDS]),
        ("hdf5plugin", SHARDS),
    ],
)
def test_the_shards_modules_alone_speak_hdf5(library, homes):
    """Red when another module opens shards by itself, past the check of what they hold."""
    users = [
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in modules(package)
        if library in imported(path)
    ]
    assert users == homes


def code_of(path):
    """Source of a file, less what its comments and docstrings say about code."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        has_docstring = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        if has_docstring and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass()
    return ast.unparse(tree)


def test_one_module_configures_tensorflow():
    """Red when pools, seeds or log levels are set elsewhere than in runtime.py."""
    calls = ("tf.config.", "set_random_seed", "TF_CPP_MIN_LOG_LEVEL", "os.environ[")

    def is_in(text):
        return any(call in text for call in calls)

    users = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in modules(package)
        if is_in(path.read_text()) and is_in(code_of(path))
    }
    assert users == {"experiments/process/runtime.py"}


def test_layers_never_print_or_seed():
    for path in modules("ttrnn"):
        for node in ast.walk(tree_of(path)):
            called = getattr(getattr(node, "func", None), "id", "")
            assert called not in ("print", "open"), f"{path.name} calls {called}"


def commands():
    """What `python -m` runs, and the subcommands that have parsers of their own."""
    for package in PACKAGES:
        for path in modules(package):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            is_program = path.name == "__main__.py" or '__name__ == "__main__"' in path.read_text()
            if is_program and name not in NO_COMMANDS:
                yield name.removesuffix(".__main__")
    yield from (
        "experiments.ucf11 predict",
        "experiments.ucf11 export",
        "experiments.ucf101 predict",
    )
    yield from (f"experiments.highlights {name}" for name in ("labels", "train", "run", "review"))
    yield from ("preprocess folder", "weights fetch", "weights convert")


# Runs `python -m COMMAND --help` for each command, in a process forked from one that has imported
# tyro alone. Prints a JSON list: exit code, output and imported packages of each.
HELP = """
import json, os, runpy, sys, tempfile
import tyro

found = []
for command in sys.argv[1:]:
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as modules:
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            sys.argv = [*command.split(), "--help"]
            code = 0
            try:
                runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
            except SystemExit as end:
                code = end.code or 0
            sys.stdout.flush()
            json.dump(sorted({name.split(".")[0] for name in sys.modules}), modules)
            modules.flush()
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        output.seek(0)
        modules.seek(0)
        found.append([code, output.read(), modules.read()])
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def helps():
    """(exit code, output, imported packages) of each command's help text."""
    names = list(commands())
    run = subprocess.run(
        [sys.executable, "-c", HELP, *names], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return dict(zip(names, json.loads(run.stdout), strict=True))


@pytest.mark.parametrize("command", commands())
def test_help_starts_nothing_heavy(command, helps):
    """Red when TensorFlow or its like is imported to print a help text.

    What is imported decides how long a help text takes. The time itself says more of the machine.
    """
    code, output, modules = helps[command]
    assert code == 0
    assert "usage:" in output
    loaded = set(json.loads(modules))
    assert command.split()[0].split(".")[0] in loaded
    assert not loaded & HEAVY


def test_nothing_unsafe():
    """Red when a shell, an unrestricted pickle or a bare except slips in."""
    for package in PACKAGES:
        for path in modules(package):
            for node in ast.walk(tree_of(path)):
                if isinstance(node, ast.keyword) and node.arg in ("shell", "allow_pickle"):
                    assert getattr(node.value, "value", None) is False, path
                assert not (isinstance(node, ast.ExceptHandler) and node.type is None), path
