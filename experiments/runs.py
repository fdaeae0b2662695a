"""Where a run is kept: a new directory, or the one of the run that is resumed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from experiments.run_directory import write_atomically
from experiments.runtime import Threads

# Settings that change how a run is carried out, not what comes out.
_FREE_TO_CHANGE = {
    "resume",
    "record",
    "out",
    "jobs",
    "threads",
    "threads_used",
    "allow_failures",
    "videos",
}


class RunError(ValueError):
    """A run cannot be started or resumed as asked."""


def choose_run_dir(name: str, *, out: Path | None, resume: bool) -> Path:
    """The directory of a run, made if it is new.

    Args:
        name: of the run, made of its settings.
        out: the directory asked for; None for runs/NAME, or runs/NAME-2 and so on where taken.
        resume: continue the latest such directory; where there is none yet, a run begins.

    Raises:
        RunError: if `out` is a file, or holds a run already.
    """
    if out is None:
        taken = _taken(Path("runs") / name)
        if resume and taken:
            return taken[-1]
        out = Path("runs") / (name if not taken else f"{name}-{len(taken) + 1}")
    config = out / "config.json"
    if not resume and config.exists():
        raise RunError(f"{out} holds a run; continue it with --resume, or choose another --out.")
    if out.exists() and not out.is_dir():
        raise RunError(f"--out must be a directory. Received {out}, which is a file.")
    out.mkdir(parents=True, exist_ok=True)
    return out


def write_config(run_dir: Path, config: dict[str, Any]) -> None:
    """Keep the settings of a new run; of a resumed one, see that they are still the same.

    Raises:
        RunError: if a setting that the result depends on differs.
    """
    path = run_dir / "config.json"
    config = json.loads(json.dumps(config, default=str))
    if path.exists():
        before = json.loads(path.read_text())
        differing = [
            f"{key} was {before.get(key)}, now {value}"
            for key, value in config.items()
            if key not in _FREE_TO_CHANGE and before.get(key) != value
        ]
        if differing:
            raise RunError(
                f"A run can only be resumed with the settings it began with, but in {run_dir} "
                f"{'; '.join(differing)}. Give the same flags, or start a new run."
            )
        return
    write_atomically(path, json.dumps(config, indent=2).encode())


def threads_of_run(run_dir: Path) -> Threads | None:
    """Those a run began with, to go on with to the same numbers; None if it is new."""
    path = run_dir / "config.json"
    used = json.loads(path.read_text()).get("threads_used") if path.exists() else None
    return Threads(**(used | {"source": "as the run began"})) if used else None


def _taken(path: Path) -> list[Path]:
    """`path`, `path`-2, ... as far as they exist."""
    taken: list[Path] = []
    while True:
        number = len(taken) + 1
        candidate = path if number == 1 else path.with_name(f"{path.name}-{number}")
        if not candidate.exists():
            return taken
        taken.append(candidate)
