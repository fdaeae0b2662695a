"""House rules of safety that a machine can keep; what they are for is in docs/security.md."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("common", "ttrnn", "preprocess", "weights", "experiments")
FILES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
NETWORK = {"requests", "urllib.request", "http.client", "ftplib", "smtplib", "telnetlib", "httpx"}
MAY_FETCH = {"weights/fetch.py"}
FORBIDDEN_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "yaml"}
FORBIDDEN_CALLS = {
    *("eval", "exec", "compile", "__import__"),
    *("os.system", "os.popen", "tempfile.mktemp", "torch.load", "joblib.load"),
    *("subprocess.getoutput", "subprocess.getstatusoutput"),
    *("numpy.fromregex", "shutil.unpack_archive", "keras.config.enable_unsafe_deserialization"),
}
FORBIDDEN_METHODS = {"extractall", "extract_all"}
HOMES = {  # calls that one module makes for all
    "load_model": {"experiments/models/keras_files.py"},
    "load_weights": {"experiments/models/keras_files.py"},
    "InferenceSession": {"experiments/models/onnx_files.py", "experiments/clips/export/write.py"},
    "av.open": {
        "preprocess/video/video_file.py",
        "experiments/media/annotation.py",  # to write, into a pipe
        "experiments/highlights/rendering/opening.py",  # to write a copy of what was opened
    },
    "VideoCapture": {
        "preprocess/sources/synthetic.py",  # what it has just rendered
        "preprocess/benchmark.py",  # the bare loops that ours are compared with
        "experiments/bench_highlights_systems.py",
        "experiments/bench_torch.py",
    },
}
KERAS_S_OWN = ("keras.models.", "keras.saving.")  # `load_model` is a name of ours as well


def name_of(path):
    return path.relative_to(ROOT).as_posix()


def dotted(node):
    """`a.b.c` of a name or an attribute; `?.c` of an attribute of anything else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def calls(tree):
    """(name, call) of a file's calls, with the modules' names and not those they are given."""
    aliases = {"np": "numpy"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            aliases |= {name.asname or name.name: name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            aliases |= {n.asname or n.name: f"{node.module}.{n.name}" for n in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first, _, rest = dotted(node.func).partition(".")
            yield f"{aliases.get(first, first)}{'.' * bool(rest)}{rest}", node


def imports(tree):
    """The modules that a file imports, in full."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def findings(tree, name):
    """What a file does that it may not; each a line for a person."""
    for module in imports(tree):
        if module.partition(".")[0] in FORBIDDEN_IMPORTS:
            yield f"imports {module}"
        if module in NETWORK and name not in MAY_FETCH:
            yield f"imports {module}, which is for {sorted(MAY_FETCH)}"
    for called, node in calls(tree):
        last = called.rpartition(".")[2]
        keywords = {keyword.arg: getattr(keyword.value, "value", ...) for keyword in node.keywords}
        if called in FORBIDDEN_CALLS or last in FORBIDDEN_METHODS:
            yield f"calls {called}"
        if keywords.get("shell", False) is not False:
            yield f"{called} starts a shell"
        if keywords.get("allow_pickle", False) is not False:
            yield f"{called} reads pickles"
        if keywords.get("verify", True) is False:
            yield f"{called} does not look at certificates"
        if called == "numpy.load" and "allow_pickle" not in keywords:
            yield "numpy.load does not say allow_pickle=False"
        is_ours = last == "load_model" and not called.startswith(KERAS_S_OWN)
        homes = HOMES.get(called, HOMES.get(last))
        if homes and not is_ours and name not in homes:
            yield f"calls {called}, which is for {sorted(homes)}"


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_that_runs_or_unpacks_what_it_is_given(path):
    """Red when a file reads pickles, starts a shell, unpacks archives, or reaches the network or a
    stranger's model past the module that looks at them."""
    assert list(findings(tree_of(path), name_of(path))) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import yaml",
        "import requests",
        "from urllib import request",
        "import numpy as np; np.load(path)",
        "import numpy; numpy.load(path, allow_pickle=True)",
        "import subprocess; subprocess.run(args, shell=True)",
        "import subprocess as s; s.Popen(args, shell=flag)",
        "from os import system; system('x')",
        "import tempfile; tempfile.mktemp()",
        "archive.extractall(folder)",
        "zipfile.ZipFile(path).extractall()",
        "eval(text)",
        "exec(text)",
        "import keras; keras.models.load_model(path)",
        "from keras.saving import load_model; load_model(path)",
        "model.load_weights(path)",
        "import torch; torch.load(path)",
        "import joblib; joblib.load(path)",
        "from torch import load; load(path)",
        "import cv2; cv2.VideoCapture(path)",
        "import av; av.open(path)",
        "from av import open; open(path)",
        "import onnxruntime; onnxruntime.InferenceSession(path)",
    ],
)
def test_the_rules_see_what_they_forbid(code):
    """Red when a rule is blind: each of these must be found in any file."""
    assert list(findings(ast.parse(code), "experiments/some_file.py"))


def test_every_keras_file_is_read_in_safe_mode():
    """Red when the one function does not say so."""
    tree = tree_of(ROOT / "experiments" / "models" / "keras_files.py")
    (call,) = (node for name, node in calls(tree) if name == "keras.models.load_model")
    keywords = {keyword.arg: keyword.value.value for keyword in call.keywords}
    assert keywords == {"compile": False, "safe_mode": True}


def test_onnx_runtime_sends_and_keeps_nothing(tmp_path):
    """Red when it is loaded with its telemetry, which leaves a number of the machine in the cache
    and a session in the temporary folder."""
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(tmp_path))
    subprocess.run(
        [sys.executable, "-c", "import experiments.models.onnx_files"],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **places},
        check=True,
    )
    assert not list(tmp_path.rglob("*"))
