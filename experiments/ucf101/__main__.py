"""The command `python -m experiments.ucf101`."""

from __future__ import annotations

import sys

from experiments import runtime


def main() -> int:
    """The command line. Returns the exit code."""
    import tyro

    from experiments.clip_command import carry_out
    from experiments.ucf101.arguments import Arguments
    from experiments.ucf101.job import MODULE, run

    arguments = tyro.cli(Arguments, prog=f"python -m {MODULE}")
    runtime.stop_on_termination()
    return carry_out(lambda: run(arguments), MODULE, resume=arguments.resume)


if __name__ == "__main__":
    sys.exit(main())
