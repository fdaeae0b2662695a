"""Thread settings that `python -m experiments.threads` has found best on this machine.

They are kept in one JSON file for each user, `$XDG_CACHE_HOME/ttrnn/threads.json`, by default in
`~/.cache`. A recommendation counts only for the machine, quota and versions that it was measured
with.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from common.errors import InputError
from common.files import write_atomically
from experiments.process.environment import describe_environment
from preprocess.system.machine import Machine

# Packages whose versions change how fast the work goes.
_VERSIONS = ("tensorflow", "keras", "numpy", "opencv", "av")


@dataclass(frozen=True)
class Recommendation:
    """Best thread setting for one kind of work.

    Args:
        workload: the work, as `python -m experiments.threads --workload` names it.
        setting: value by axis, such as {"intra_op": 2, "inter_op": 1}.
        gain: speed divided by that of the default, less 1; 0 if nothing was better.
        measured_on: date, as YYYY-MM-DD.
        report: folder of the measurements.
    """

    workload: str
    setting: dict[str, Any]
    gain: float
    measured_on: str
    report: str


def recommendations_path() -> Path:
    """Path of the file that keeps the recommendations."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "ttrnn" / "threads.json"


def find_recommendation(workload: str, machine: Machine) -> Recommendation | None:
    """Find the recommendation for a work on this machine with these versions; None if missing."""
    here = _key(machine)
    # The latest entry counts.
    for entry in reversed(_read()):
        if entry["machine"] == here and entry["recommendation"]["workload"] == workload:
            return Recommendation(**entry["recommendation"])
    return None


def keep_recommendation(recommendation: Recommendation, machine: Machine) -> Path:
    """Write a recommendation in place of an older one; returns the path of the file.

    Raises:
        OSError: if the file cannot be written.
    """
    path, here = recommendations_path(), _key(machine)
    others = [
        entry
        for entry in _read()
        if (entry["machine"], entry["recommendation"]["workload"])
        != (here, recommendation.workload)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    entries = [*others, {"machine": here, "recommendation": asdict(recommendation)}]
    write_atomically(path, json.dumps({"format": 1, "kept": entries}, indent=1).encode())
    return path


def _key(machine: Machine) -> dict[str, Any]:
    """Properties of machine and software that must be equal for a measurement to count."""
    versions = describe_environment()["versions"]
    return {
        "cpu": machine.cpu,
        "cpus": len(machine.usable),
        "cores": len(machine.cores),
        "quota": machine.quota,
        "versions": {name: versions[name] for name in _VERSIONS},
    }


def _read() -> list[dict[str, Any]]:
    """Read all recommendations; a file that is damaged is reported, and counts as empty."""
    path = recommendations_path()
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))["kept"]
        for entry in kept:
            _check_entry(entry)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        # The file is only a cache of measurements: a damaged one costs speed, not the run.
        print(
            f"{path} is not a file of thread settings ({type(error).__name__}: {error}); going on "
            "without. Remove it, and measure again: python -m experiments.threads",
            file=sys.stderr,
        )
        return []
    return kept


def _check_entry(entry: dict[str, Any]) -> None:
    """Check the form of an entry, since anybody can write the file.

    Raises:
        KeyError, TypeError, ValueError: if it has another form.
    """
    entry["machine"]["versions"]
    kept = Recommendation(**entry["recommendation"])
    setting = kept.setting
    if ("intra_op" in setting) != ("inter_op" in setting):
        raise InputError(f"intra_op and inter_op belong together. Received {setting}")
    # A damaged file must not stop a training run: every error here means "no recommendation".
    if not all(type(text) is str for text in (kept.workload, kept.measured_on, kept.report)):
        raise TypeError(f"a name is no text. Received {kept}")
    numbers = [value for name, value in setting.items() if name != "cpus"]
    if not numbers or any(type(value) is not int or not 1 <= value <= 4096 for value in numbers):
        raise InputError(f"a setting must hold numbers of threads. Received {setting}")
