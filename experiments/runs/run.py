"""Where a run is kept: a new directory, or the one of the run that is resumed."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import remove_partials, write_atomically
from experiments.process import runtime
from experiments.process.runtime import Threads
from experiments.runs.directory import CLIP_MODEL, PAGE
from experiments.runs.records import read_records
from preprocess.errors import PreprocessError

RECORDS = Path("experiments/results.csv")
CONFIG, RESULT = "config.json", "result.json"
MODEL, MODEL_SETTINGS = "model.keras", CLIP_MODEL  # what a finished run on clips leaves
SCORER = "scorer.json"  # what one of experiments.highlights leaves

# Settings that change how a run is carried out, not what comes out.
FREE_TO_CHANGE = {
    "scheduler",
    "resume",
    "record",
    "out",
    "jobs",
    "threads",
    "threads_used",
    "allow_failures",
    "videos",
    "distribute",
}


# What runs did before a recipe's field was there; their config.json lacks it.
_BEFORE_IT_WAS_A_SETTING = {
    "epsilon": 1e-7,  # Keras's
    "interpolation": "linear",
    "grey": False,
    "short_sides": None,
    "normalization": "imagenet",
    "pictures_interpolation": "smooth",
    "pictures_sound_track": 0,
}


class RunError(InputError):
    """A run cannot be started or resumed as asked."""


class ClipModelError(RunError):
    """A run has no model of clips that can be used."""


def require_positive(arguments: Any, names: Sequence[str]) -> None:
    """Raise ValueError for a number among some flags that is not above 0; None is none."""
    for name in names:
        value = getattr(arguments, name)
        if value is not None and value <= 0:
            flag = name.replace("_", "-")
            raise InputError(f"--{flag} must be greater than 0. Received {value}.")


def require_writable(folder: Path) -> None:
    """Make a folder, and raise PreprocessError if nothing can be written to it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise PreprocessError(f"Cannot write to {folder}: {error.strerror}.") from error


def require_fold(fold: int, num_folds: int) -> None:
    """Raise ValueError for a fold that is not among so many."""
    if not 0 <= fold < num_folds:
        raise InputError(
            f"--fold must be one of the {num_folds} folds, 0 to {num_folds - 1}. Received {fold}."
        )


def require_seed(seed: int) -> None:
    """Raise ValueError for a seed that NumPy and scikit-learn do not take."""
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed must be 0 to {2**32 - 1}. Received {seed}.")


def require_records(record: bool) -> None:
    """Raise ValueError if a result is to be recorded, and there is no place for it here."""
    if not record:
        return
    if not RECORDS.parent.is_dir():
        raise InputError(
            f"--record appends to {RECORDS}, but there is no folder {RECORDS.parent} here; run "
            "from the root of the repository."
        )
    if not os.access(RECORDS if RECORDS.exists() else RECORDS.parent, os.W_OK):
        raise InputError(f"--record appends to {RECORDS}, which may not be written to.")
    if RECORDS.exists():
        read_records(RECORDS)


def require_model(run_dir: Path) -> None:
    """Raise ClipModelError if a directory does not hold the model of a finished run on clips."""
    if (run_dir / MODEL_SETTINGS).is_file():
        return
    needed = f"A finished run's directory is needed, which holds {MODEL_SETTINGS} and {MODEL}."
    if (run_dir / SCORER).is_file():
        raise ClipModelError(
            f"{needed} {run_dir} holds a scorer of moments: python -m experiments.highlights run."
        )
    if (run_dir / CONFIG).is_file():
        raise ClipModelError(
            f"{needed} The run in {run_dir} did not come to its end: continue it with --resume."
        )
    raise ClipModelError(f"{needed} {run_dir} does not; name another, or train one.")


def require_place(path: Path, *, flag: str = "--out") -> None:
    """Raise RunError for a folder that cannot be made, or written to, before long work."""
    absolute = Path(os.path.abspath(path))  # so that the name of what is missing has no ".."
    there = next(place for place in (absolute, *absolute.parents) if place.exists())
    if not there.is_dir():
        raise RunError(f"{flag} must be a directory. Received {path}, but {there} is a file.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RunError(f"{there} may not be written to. Choose another {flag} than {path}.")


def choose_run_dir(name: str, *, out: Path | None, resume: bool) -> Path:
    """The directory of a run, made if it is new.

    Args:
        name: of the run, made of its settings.
        out: the directory asked for; None for runs/NAME, or runs/NAME-2 and so on where taken.
        resume: continue the latest such directory; where there is none yet, a run begins.

    Raises:
        RunError: if `out` is a file, or holds a run already.
    """
    run_dir = _run_dir(name, out=out, resume=resume)
    run_dir.mkdir(parents=True, exist_ok=True)
    return run_dir


def _run_dir(name: str, *, out: Path | None, resume: bool) -> Path:
    """What `choose_run_dir` chooses; nothing is made."""
    if out is None:
        taken = _taken(Path("runs") / name)
        if resume and taken:
            return taken[-1]
        out = Path("runs") / (name if not taken else f"{name}-{len(taken) + 1}")
    if not resume and (out / CONFIG).exists():
        raise RunError(f"{out} holds a run; continue it with --resume, or choose another --out.")
    require_place(out)
    return out


def check_run(
    name: str,
    arguments: Any,
    settings: dict[str, Any],
    *,
    unknown: Sequence[str] = (),
    is_chief: bool = True,
) -> None:
    """Refuse, before long work, what `begin_run` would refuse after it.

    Where there is nothing to resume, a line says so.

    Args:
        name, arguments, is_chief: those of `begin_run`.
        settings: of the run.
        unknown: names of those that only the clips will tell.

    Raises:
        RunError: if there is another run, this one was of other settings, or its directory cannot
            be written.
    """
    run_dir = _run_dir(name, out=arguments.out, resume=arguments.resume or not is_chief)
    if (run_dir / CONFIG).exists():
        known = {key: value for key, value in settings.items() if key not in unknown}
        _require_same_settings(run_dir, known)
    elif arguments.resume and is_chief:
        print(f"There is nothing to resume in {run_dir}: a new run begins.", file=sys.stderr)


def _require_same_settings(run_dir: Path, config: dict[str, Any]) -> None:
    """Raise RunError if a setting that the result depends on is not what the run began with."""
    found = json.loads((run_dir / CONFIG).read_text())
    before = {**_BEFORE_IT_WAS_A_SETTING, **found}
    added = [key for key in _BEFORE_IT_WAS_A_SETTING if key not in found]
    differing = [
        f"{key} was {before.get(key)}{', before it was a setting' if key in added else ''}, "
        f"now {value}"
        for key, value in json.loads(json.dumps(config, default=str)).items()
        if key not in FREE_TO_CHANGE and before.get(key) != value
    ]
    if differing:
        raise RunError(
            f"A run can only be resumed with the settings it began with, but in {run_dir} "
            f"{'; '.join(differing)}. Give the same flags, or start a new run."
        )


def write_config(run_dir: Path, config: dict[str, Any]) -> None:
    """Keep the settings of a new run; of a resumed one, see that they are still the same.

    Raises:
        RunError: if a setting that the result depends on differs.
    """
    path = run_dir / CONFIG
    if path.exists():
        _require_same_settings(run_dir, config)
        return
    write_atomically(path, json.dumps(config, indent=2, default=str).encode())


def begin_run(
    name: str,
    arguments: Any,
    settings: dict[str, Any],
    *,
    workload: str | None = None,
    is_chief: bool = True,
) -> tuple[Path, dict[str, Any] | None]:
    """Choose a run's directory, keep its settings there, and set up TensorFlow.

    Args:
        name: of the run.
        arguments: have `out`, `resume`, `threads` and `seed`.
        settings: all that the run is made of, flags included.
        workload: the kind of work, by its name among thread settings.
        is_chief: whether this process writes what the run leaves; another worker of it only reads.

    Returns:
        The directory; and the result, if the run is finished. TensorFlow is then left alone.

    Raises:
        RunError: if there is another run, or this one was of other settings.
        InputError: for unknown threads.
    """
    resume = arguments.resume or not is_chief
    run_dir = choose_run_dir(name, out=arguments.out, resume=resume)
    threads = threads_of_run(run_dir) if arguments.threads == "auto" else None
    threads = threads or runtime.choose_threads(arguments.threads, workload=workload)
    if is_chief:
        remove_partials(run_dir)
        write_config(run_dir, {**settings, "threads_used": asdict(threads)})
    if finished := finished_result(run_dir):
        return run_dir, finished
    runtime.configure(
        threads, seed=arguments.seed, deterministic=getattr(arguments, "deterministic", True)
    )
    print(f"keeping all in {run_dir}\n{threads}")
    return run_dir, None


def finished_result(run_dir: Path) -> dict[str, Any] | None:
    """What a run that came to its end gave, with its directory; None for any other."""
    path = run_dir / RESULT
    if not path.exists():
        return None
    print(f"{run_dir} is finished; nothing to resume.")
    if not (run_dir / PAGE).exists():  # the run was stopped between its result and its report
        from experiments.runs.report.page import rebuild_report

        rebuild_report(run_dir)
    return json.loads(path.read_text()) | {"run_dir": run_dir}


def threads_of_run(run_dir: Path) -> Threads | None:
    """Those a run began with, to go on with to the same numbers; None if it is new."""
    path = run_dir / CONFIG
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
