"""Helpers that all packages may use: errors, atomic files, typed CSV rows, command lines."""

import sys
from importlib.util import find_spec


def _require_installation() -> None:
    """End a command with one line where the suite was not installed for this Python.

    In a clone, `python -m experiments...` finds our packages with any Python, also with the
    system's when the environment was not activated, and would fail at the first library.
    """
    # While Python looks for the module of `-m` it has imported only the packages that hold it, and
    # argv[0] is "-m". Whoever imports the suite otherwise gets the traceback of an import.
    if sys.argv[:1] == ["-m"] and find_spec("tyro") is None:
        print(
            f"ttrnn is not installed for {sys.executable}. Activate its environment "
            "(. .venv/bin/activate), or install it: pip install '.[video]'.",
            file=sys.stderr,
        )
        raise SystemExit(2)


_require_installation()
