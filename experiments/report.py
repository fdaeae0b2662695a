"""Build a run's `report.html`, and `predictions.html` with every test clip.

    python -m experiments.report runs/NAME [--shards SHARDS]

rebuilds them from what the run left. The pages ask nothing of the network: styles are inline, and
pictures are data URIs or, of the predictions, files in `strips/` beside the page.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional

from common.command_line import parse_arguments
from experiments.runs.run import rebuild_report
from preprocess.system.command import run_command


@dataclass
class Arguments:
    """Rebuild the report of a run."""

    run_dir: Positional[Path]
    """The run's directory, runs/NAME."""
    shards: Path | None = None
    """Where its frames are; by default what the run's config.json says, if that still exists."""


def main(argv: Sequence[str] | None = None) -> int:
    """Rebuild the report, and return the exit code."""
    prog = "python -m experiments.report"
    arguments = parse_arguments(Arguments, prog=prog, description=__doc__, args=argv)

    def rebuild() -> int:
        print(f"wrote {rebuild_report(arguments.run_dir, arguments.shards)}")
        return 0

    return run_command(rebuild, resume_hint=lambda: "The same command writes the report anew.")


if __name__ == "__main__":
    sys.exit(main())
