"""Thread pools: parsed, and in force when the first operation runs."""

import os
import subprocess
import sys

import pytest

from experiments.runtime import MANY, Threads, parse_threads


def test_pools_are_read():
    assert parse_threads("18,36") == Threads(intra_op=18, inter_op=36)


@pytest.mark.parametrize("text", ["", "18", "0,1", "1,-1", "a,b", "1,2,3", "auto,1"])
def test_anything_else_is_refused(text):
    with pytest.raises(ValueError, match="must be auto or INTRA,INTER"):
        parse_threads(text)


def test_they_take_effect_and_nothing_is_said():
    """Red when pools are set after TensorFlow has made them, or its greetings reach the user."""
    script = (
        "from experiments import runtime; runtime.configure(runtime.parse_threads('3,2'), seed=0)\n"
        "import tensorflow as tf; tf.zeros(3) + 1\n"
        "print(tf.config.threading.get_intra_op_parallelism_threads(),"
        " tf.config.threading.get_inter_op_parallelism_threads())"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["3", "2"]
    assert run.stderr == ""


def test_auto_follows_the_kind_of_work():
    """Red when small chunks are also split over threads: they then run at half the speed."""
    cores = len(os.sched_getaffinity(0))
    assert parse_threads("auto", at_once=MANY) == Threads(intra_op=1, inter_op=cores)
    assert parse_threads("auto", at_once=1) == Threads(intra_op=cores, inter_op=1)
    assert parse_threads("auto").intra_op == cores
