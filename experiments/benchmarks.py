"""What the benchmark commands share: how they end, and where their figures go."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.process.command import run_command
from experiments.process.runtime import Threads
from experiments.runs import environment
from experiments.runs.directory import write_atomically


def keep_results(
    out: Path, rows: Sequence[Any], *, table: str, circumstances: str, threads: Threads
) -> None:
    """Print a table, and write it with all figures.

    Args:
        out: takes results.json and table.md.
        rows: dataclasses.
        table: of the rows, Markdown.
        circumstances: of the measurement, in words, besides machine, versions and threads.
        threads: TensorFlow's pools.
    """
    seen = environment.describe_environment()
    machine = seen["machine"]
    versions = ", ".join(f"{package} {version}" for package, version in seen["versions"].items())
    text = (
        f"{machine['cpu']}, {machine['cores']} cores; {versions}.\n"
        f"{circumstances}; {threads}.\n\n{table}\n"
    )
    result = {
        "command": sys.argv[1:],
        "commit": environment.git_commit(),
        **seen,
        "threads": asdict(threads),
        "rows": [asdict(row) for row in rows],
    }
    write_atomically(out / "results.json", json.dumps(result, indent=1).encode())
    write_atomically(out / "table.md", text.encode())
    print(f"\n{text}\nWritten to {out}/: results.json, table.md")


def with_peers(wanted: bool, *packages: str) -> bool:
    """Whether to run the peers that need some packages; says so if these are not installed."""
    missing = [name for name in packages if wanted and importlib.util.find_spec(name) is None]
    if missing:
        print(
            f"Without PyTorch: {' and '.join(missing)} not installed "
            "(pip install -e '.[benchmark]').",
            file=sys.stderr,
        )
    return wanted and not missing


def carry_out(run: Callable[[], None]) -> int:
    """Run a benchmark; returns the exit code."""

    def told() -> int:
        run()
        return 0

    return run_command(
        told,
        going_on=lambda: "Nothing is kept; the same command measures anew.",
        exit_error=1,
    )
