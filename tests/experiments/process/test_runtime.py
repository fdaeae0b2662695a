"""Thread pools: chosen, and in force when the first operation runs."""

import json
import subprocess
import sys
from datetime import date

import pytest

from experiments.process import recommendations
from experiments.process.recommendations import (
    Recommendation,
    find_recommendation,
    keep_recommendation,
)
from experiments.process.runtime import Threads, choices_of_cpus, choose_threads, default_threads
from preprocess.system.machine import read_machine
from tests import processes
from tests.experiments.threads.machines import machine


def test_pools_are_read():
    assert choose_threads("18,36") == Threads(intra_op=18, inter_op=36)


@pytest.mark.parametrize(
    "text", ["", "18", "0,1", "1,-1", "a,b", "1,2,3", "auto,1", "99999,1", "1,2\n"]
)
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="must be auto or INTRA,INTER"):
        choose_threads(text)


SCRIPT = """
import os
from experiments.process import runtime
runtime.configure(runtime.Threads(5, 3, {cpus!r}), seed=0)
before = len(os.listdir("/proc/self/task"))
import tensorflow as tf
(tf.zeros((64, 64)) @ tf.zeros((64, 64))).numpy()
tasks = [open(f"/proc/self/task/{{task}}/comm").read() for task in os.listdir("/proc/self/task")]
print(tf.config.threading.get_intra_op_parallelism_threads(),
      tf.config.threading.get_inter_op_parallelism_threads(),
      sum(name.startswith("tf_Compute") for name in tasks), len(tasks) - before,
      len(os.sched_getaffinity(0)))
"""


def test_they_take_effect_and_nothing_is_said():
    """Red when pools are set after TensorFlow has made them, or its greetings reach the user."""
    script = SCRIPT.format(cpus="all")
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    intra, inter, compute_threads, started, _ = map(int, run.stdout.split())
    assert (intra, inter) == (5, 3)
    assert compute_threads == inter  # the process's own threads, as the kernel names them
    assert started >= intra + inter
    assert run.stderr == ""


def test_a_set_of_cpus_is_kept_to(monkeypatch):
    """Red when threads run on CPUs that were not named."""
    ours = read_machine().usable
    pinned = processes.run(
        [
            "-c",
            "import os; from experiments.process import runtime\n"
            f"runtime.choices_of_cpus = lambda machine: {{'all': {ours}, 'cores': ({ours[0]},)}}\n"
            f"exec({SCRIPT.format(cpus='cores')!r})",
        ]
    )
    assert pinned.returncode == 0, pinned.stderr
    assert pinned.stdout.split()[-1] == "1"


def test_a_set_of_cpus_that_is_not_there_is_refused():
    script = (
        "from experiments.process import runtime; "
        "runtime.configure(runtime.Threads(1, 1, 'node9'), seed=0)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "CPUs must be one of all" in run.stderr


@pytest.mark.parametrize(
    ("workload", "seen", "expected"),
    [
        (None, machine(8), (8, 2)),
        (None, machine(1), (1, 1)),
        ("tt-train", machine(8), (1, 8)),
        ("classify", machine(8), (1, 8)),
        ("classify", machine(64), (8, 8)),  # memory for 8 batches
        ("classify", machine(18), (2, 8)),
        (None, machine(32, threads_a_core=2), (32, 2)),  # hyper-threads share one core's units
        (None, machine(64, quota=2.0), (2, 2)),  # a container with 2 CPUs on a 64-core host
        ("tt-train", machine(64, quota=1.5), (1, 2)),
        (None, machine(64, quota=0.5), (1, 1)),
    ],
)
def test_defaults_follow_the_machine_and_the_kind_of_work(workload, seen, expected):
    """Red when hyper-threads or the whole host are counted, or small pieces split over threads."""
    threads = default_threads(seen, workload)
    assert (threads.intra_op, threads.inter_op) == expected


def test_sets_of_cpus():
    """Red when a core gets both of its hyper-threads, or a set is offered under two names."""
    assert choices_of_cpus(machine(4)) == {"all": (0, 1, 2, 3)}
    assert choices_of_cpus(machine(4, threads_a_core=2, nodes=2)) == {
        "all": tuple(range(8)),
        "cores": (0, 1, 2, 3),
        "node0": (0, 1, 4, 5),
        "node1": (2, 3, 6, 7),
    }


def kept(workload="tt-train", **setting):
    setting = setting or {"intra_op": 3, "inter_op": 5}
    return Recommendation(workload, setting, 0.2, str(date(2026, 1, 2)), "runs/threads")


def test_auto_takes_what_was_measured_on_this_machine():
    """Red when a recommendation is not found again, or serves other work."""
    default = choose_threads("auto", workload="tt-train")
    keep_recommendation(kept(intra_op=9, inter_op=9), read_machine())
    keep_recommendation(kept(), read_machine())
    keep_recommendation(kept("classify", intra_op=2, inter_op=4, jobs=3), read_machine())
    found = choose_threads("auto", workload="tt-train")
    assert found == Threads(3, 5)
    assert "measured on 2026-01-02" in str(found)
    assert choose_threads("auto", workload="classify") == Threads(2, 4, jobs=3)
    assert choose_threads("auto", workload="alexnet").source == default.source
    assert choose_threads("1,2", workload="tt-train") == Threads(1, 2)


@pytest.mark.parametrize(
    "other",
    [machine(4), machine(quota=1.0), machine(cpu="Slow 3"), machine(1, threads_a_core=2)],
)
def test_a_recommendation_is_for_one_machine(other):
    """Red when a container with another quota takes the settings of its host."""
    keep_recommendation(kept(), machine())
    assert find_recommendation("tt-train", machine()) == kept()
    assert find_recommendation("tt-train", other) is None


def test_a_recommendation_is_for_one_version(monkeypatch):
    keep_recommendation(kept(), machine())
    versions = recommendations.describe_environment()["versions"] | {"tensorflow": "9.9"}
    monkeypatch.setattr(recommendations, "describe_environment", lambda: {"versions": versions})
    assert find_recommendation("tt-train", machine()) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"kept": 3}',
        '{"kept": [{}]}',
        '{"kept": [{"machine": {"versions": {}}, "recommendation": {"workload": "tt-train"}}]}',
        json.dumps(
            {
                "kept": [
                    {
                        "machine": {"versions": {}},
                        "recommendation": vars(kept(intra_op="rm", inter_op=1)),
                    }
                ]
            }
        ),
    ],
)
def test_a_damaged_file_is_told_of_and_passed_over(text, capsys):
    """Red when somebody's broken cache keeps every experiment from starting."""
    path = recommendations.recommendations_path()
    path.parent.mkdir(parents=True)
    path.write_text(text)
    assert choose_threads("auto", workload="tt-train").source.startswith("default")
    assert str(path) in capsys.readouterr().err
    keep_recommendation(kept(), read_machine())
    assert choose_threads("auto", workload="tt-train") == Threads(3, 5)
