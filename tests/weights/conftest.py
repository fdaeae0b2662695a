"""Path to the oracle of ../ttrnn, and `python -m weights` in the tests' own process."""

import sys
from pathlib import Path

import pytest

from preprocess.system import stopping

sys.path.insert(0, str(Path(__file__).parents[1] / "ttrnn"))


@pytest.fixture
def command(monkeypatch, capsys):
    """Function that runs the command in this process. It returns exit code, output and errors."""
    from weights import __main__ as weights_command

    monkeypatch.setattr("experiments.process.runtime.configure", lambda threads, seed: None)
    monkeypatch.setattr(stopping, "answer_signals", lambda resume_hint: None)

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["weights", *map(str, args)])
        code = weights_command.main()
        return code, *capsys.readouterr()

    return run
