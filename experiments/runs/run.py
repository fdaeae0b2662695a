"""Begin or resume a run: its directory, its settings, its threads, and checks before long work."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.extras import missing_extra
from common.files import remove_partials, write_atomically
from experiments.process import runtime
from experiments.process.runtime import Threads
from experiments.runs.files import CLIP_MODEL, PAGE
from experiments.runs.records import read_records
from preprocess.errors import PreprocessError

RECORDS = Path("experiments/results.csv")
CONFIG, RESULT = "config.json", "result.json"
# Files that a finished run on clips leaves, and that of a run of experiments.highlights.
MODEL, MODEL_SETTINGS = "model.keras", CLIP_MODEL
SCORER = "scorer.json"

# Settings that change how a run is carried out, but not its result.
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
    "tensorboard",
    "mlflow",
}


# Values by which older runs worked before these were settings; their config.json lacks them.
_BEFORE_IT_WAS_A_SETTING = {
    "epsilon": 1e-7,  # Keras's
    "interpolation": "linear",
    "grey": False,
    "short_sides": None,
    "normalization": "imagenet",
    "frames": 8,
    "unfreeze": 0,
    "list": 1,
    "mirror": False,
    "layer_decay": 1.0,
    "mixup": 0.0,
    "pictures_interpolation": "smooth",
    "pictures_sound_track": 0,
}


class RunError(InputError):
    """Error for a run that cannot be started or resumed as asked."""


class ClipModelError(RunError):
    """Error for a run without a usable model of clips."""


def require_positive(arguments: Any, names: Sequence[str]) -> None:
    """Raise InputError for a flag among `names` that is a number not above 0; None passes."""
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
    """Raise InputError for a fold outside of [0, num_folds)."""
    if not 0 <= fold < num_folds:
        raise InputError(
            f"--fold must be one of the {num_folds} folds, 0 to {num_folds - 1}. Received {fold}."
        )


def require_seed(seed: int) -> None:
    """Raise InputError for a seed that NumPy and scikit-learn do not take."""
    if not 0 <= seed < 2**32:
        raise InputError(f"--seed must be 0 to {2**32 - 1}. Received {seed}.")


def require_records(record: bool) -> None:
    """Raise InputError if a result is to be recorded but cannot be."""
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
        # A damaged table is found now, and not after hours of training.
        read_records(RECORDS)


def require_mlflow(is_wanted: bool) -> None:
    """Raise MissingExtraError if a run is to be kept in MLflow's store, and it is not installed."""
    # Found without being imported, which takes seconds.
    for module in ("mlflow", "sqlalchemy", "alembic") if is_wanted else ():
        if importlib.util.find_spec(module) is None:
            error = missing_extra(ModuleNotFoundError(name=module))
            assert error is not None, module
            raise error


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
    """Raise RunError for a folder that cannot be made or written to, before long work."""
    # Absolute, so that the missing part of the name has no "..".
    absolute = Path(os.path.abspath(path))
    there = next(place for place in (absolute, *absolute.parents) if place.exists())
    if not there.is_dir():
        raise RunError(f"{flag} must be a directory. Received {path}, but {there} is a file.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RunError(f"{there} may not be written to. Choose another {flag} than {path}.")


def choose_run_dir(name: str, *, out: Path | None, resume: bool) -> Path:
    """Choose the directory of a run, and make it if it is new.

    Args:
        name: name of the run, made of its settings.
        out: directory that was asked for; None for runs/NAME, or runs/NAME-2 and so on if taken.
        resume: continue the latest such directory; if there is none yet, a run begins.

    Raises:
        RunError: if `out` is a file, or holds a run already.
    """
    run_dir = _run_dir(name, out=out, resume=resume)
    run_dir.mkdir(parents=True, exist_ok=True)
    return run_dir


def _run_dir(name: str, *, out: Path | None, resume: bool) -> Path:
    """Choose as `choose_run_dir` does, without making anything."""
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
    """Raise before long work the errors that `begin_run` would raise after it.

    If there is nothing to resume, a line says so.

    Args:
        name, arguments, is_chief: those of `begin_run`.
        settings: settings of the run.
        unknown: names of settings that are not known before the clips are open.

    Raises:
        RunError: if there is another run, this one began with other settings, or its directory
            cannot be written.
    """
    # Another worker than the chief always finds the directory that the chief has begun.
    run_dir = _run_dir(name, out=arguments.out, resume=arguments.resume or not is_chief)
    if (run_dir / CONFIG).exists():
        known = {key: value for key, value in settings.items() if key not in unknown}
        _require_same_settings(run_dir, known)
    elif arguments.resume and is_chief:
        print(f"There is nothing to resume in {run_dir}: a new run begins.", file=sys.stderr)


def _require_same_settings(run_dir: Path, config: dict[str, Any]) -> None:
    """Raise RunError if a setting that the result depends on differs from the run's first one."""
    found = json.loads((run_dir / CONFIG).read_text())
    before = {**_BEFORE_IT_WAS_A_SETTING, **found}
    added = [key for key in _BEFORE_IT_WAS_A_SETTING if key not in found]
    differing = [
        f"{key} was {before.get(key)}{', before it was a setting' if key in added else ''}, "
        f"now {value}"
        # Through JSON and back, as the other settings went: tuples are lists there, and paths text.
        for key, value in json.loads(json.dumps(config, default=str)).items()
        if key not in FREE_TO_CHANGE and before.get(key) != value
    ]
    if differing:
        raise RunError(
            f"A run can only be resumed with the settings it began with, but in {run_dir} "
            f"{'; '.join(differing)}. Give the same flags, or start a new run."
        )


def write_config(run_dir: Path, config: dict[str, Any]) -> None:
    """Write the settings of a new run; check that those of a resumed one are still the same.

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
    """Choose a run's directory, write its settings there, and set up TensorFlow.

    Args:
        name: name of the run.
        arguments: flags with `out`, `resume`, `threads` and `seed`.
        settings: all settings of the run, flags included.
        workload: kind of work, by its name among thread settings.
        is_chief: whether this process writes the files of the run; other workers only read.

    Returns:
        The directory, and the result if the run is finished; TensorFlow is then not set up.

    Raises:
        RunError: if there is another run, or this one began with other settings.
        InputError: for unknown threads.
    """
    resume = arguments.resume or not is_chief
    run_dir = choose_run_dir(name, out=arguments.out, resume=resume)
    # A resumed run keeps its threads: with others, sums are rounded otherwise.
    threads = threads_of_run(run_dir) if arguments.threads == "auto" else None
    threads = threads or runtime.choose_threads(arguments.threads, workload=workload)
    if is_chief:
        # Files that a killed run was writing.
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
    """Return the result of a finished run, with its directory; None for any other."""
    path = run_dir / RESULT
    if not path.exists():
        return None
    print(f"{run_dir} is finished; nothing to resume.")
    # A run may be stopped between its result and its report.
    if not (run_dir / PAGE).exists():
        rebuild_report(run_dir)
    return json.loads(path.read_text()) | {"run_dir": run_dir}


def rebuild_report(run_dir: Path, shards: Path | None = None) -> Path:
    """Rebuild the report of a run, as `experiments.runs.report` does; returns the page's path."""
    # Imported here: a command that only begins a run must not wait for Matplotlib.
    from experiments.runs import report

    return report.rebuild_report(run_dir, shards)


def threads_of_run(run_dir: Path) -> Threads | None:
    """Return the threads that a run began with, which give the same numbers; None if it is new."""
    path = run_dir / CONFIG
    used = json.loads(path.read_text()).get("threads_used") if path.exists() else None
    return Threads(**(used | {"source": "as the run began"})) if used else None


def _taken(path: Path) -> list[Path]:
    """List `path`, `path`-2, ... as far as they exist."""
    taken: list[Path] = []
    while True:
        number = len(taken) + 1
        candidate = path if number == 1 else path.with_name(f"{path.name}-{number}")
        if not candidate.exists():
            return taken
        taken.append(candidate)
