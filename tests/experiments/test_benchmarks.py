"""The frame of the benchmarks: systems that are named, and those that die."""

from __future__ import annotations

import ast
import os
import re

import numpy as np
import pytest

from common.errors import UserError
from experiments import bench_classify, bench_tt
from experiments.benchmarks import Remote
from experiments.process.runtime import Threads
from tests.processes import REPOSITORY

NAME = re.compile(r"(experiments[\w.]*):(\w+)")


class Dying:
    """A system whose process ends while it is asked."""

    def measure(self) -> None:
        os._exit(9)


class Dead:
    """Stands for the `Remote` of a process that was ended by the system."""

    startup_seconds = 0.0

    def ask(self, question, *arguments):
        if question.endswith("_flops"):
            return 1.0
        raise UserError("the process died, of too little memory most likely")


class Alive(Dead):
    def ask(self, question, *arguments):
        if question == "frames_per_second":
            return 5.0, 10**9
        return bench_tt.Timing(1.0, 3200, 10**9) if question == "time" else 1.0


@pytest.mark.parametrize("path", sorted((REPOSITORY / "experiments").glob("bench_*.py")), ids=str)
def test_systems_are_found_by_their_names(path):
    """Red when a system has moved, which would be seen only after minutes of measuring."""
    text = path.read_text(encoding="utf-8")
    for constant in re.findall(r'^(\w+) = "(experiments[\w.]+)"$', text, re.MULTILINE):
        text = text.replace(f"{{{constant[0]}}}", constant[1])
    names = NAME.findall(text)
    assert names or "Remote" not in text
    for module, name in names:
        tree = ast.parse((REPOSITORY / f"{module.replace('.', '/')}.py").read_text("utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def test_a_process_that_dies_says_so():
    """Red when the end of a process is an endless wait, or its cause is not told."""
    system = Remote(f"{__name__}:Dying", threads=Threads(1, 1))
    try:
        with pytest.raises(UserError, match="the process died"):
            system.ask("measure")
    finally:
        system.close()


def test_a_dead_process_is_a_failed_row_of_classification():
    rates, _, failures = bench_classify._time({"a": Alive(), "b": Dead()}, rounds=2)
    assert rates == {"a": [5.0, 5.0], "b": []}
    assert list(failures) == ["b"]
    row = bench_classify._row("b", rates["b"], None, None, None, failures["b"])
    assert "| b | failed: the process died" in bench_classify.table([row])


def test_a_dead_process_is_a_failed_row_of_training():
    workers = {name: Dead() if name == "dense" else Alive() for name in bench_tt.SYSTEMS}
    case = bench_tt.Case("full", 200, 16)
    rows = bench_tt.measure(workers, [case], rounds=1, num_batches=1)
    assert {row.system for row in rows if row.failure} == {"dense"}
    assert "failed: the process died" in bench_tt.table(rows)
    assert np.isfinite([row.ratio for row in rows if not row.failure]).all()
