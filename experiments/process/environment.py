"""Circumstances that a row of results records: machine, versions, commit, peak memory."""

from __future__ import annotations

import platform
import resource
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from preprocess.system.machine import read_machine

# Distributions that may provide a package, by its column's name; the first one found counts.
PACKAGES = {
    "tensorflow": ("tensorflow", "tensorflow-cpu"),
    "keras": ("keras",),
    "numpy": ("numpy",),
    "opencv": ("opencv-python-headless", "opencv-python"),
    "av": ("av",),
    "h5py": ("h5py",),
}
# Recording a result must not make the next run's commit dirty.
_WRITTEN = (
    "experiments/results.csv",
    "docs/log.md",
    "docs/results.md",
    "docs/robustness.csv",
    "README.md",
)
_CODE = (":/", *(f":(top,exclude){path}" for path in _WRITTEN))


def describe_environment() -> dict[str, dict[str, Any]]:
    """Describe the machine and the versions of the packages.

    Returns:
        `{"machine": {cpu, cores, memory_bytes, os}, "versions": {python, tensorflow, ...}}`.
        `cores` counts the logical CPUs that this process may use, `memory_bytes` the memory. A
        package that is missing is None.
    """
    seen = read_machine()
    machine = {
        "cpu": seen.cpu,
        "cores": seen.num_cpus,
        "memory_bytes": seen.memory_bytes,
        "os": _os_name(),
    }
    # From the installed packages' metadata, so that nothing heavy is imported.
    versions = {name: _version(candidates) for name, candidates in PACKAGES.items()}
    return {"machine": machine, "versions": {"python": platform.python_version(), **versions}}


def git_commit(folder: Path | None = None) -> str | None:
    """Return the commit of the checkout that holds this code, with "+dirty" if files differ.

    None outside a checkout, before the first commit, or where git is missing.
    """
    here = Path(__file__).resolve()
    if folder is None and _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        # Installed somewhere below a checkout that is not this project's.
        return None
    folder = folder or here.parent
    commit = _git(folder, "rev-parse", "--verify", "--short=12", "HEAD")
    if not commit:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no", "--", *_CODE)
    return f"{commit}+dirty" if changed else commit


def peak_rss_bytes() -> int:
    """Return the peak memory of this process in bytes, without its worker processes."""
    status = Path("/proc/self/status")
    if status.exists():
        # On Linux, getrusage would include the peak of the process that started this one.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].removesuffix("kB")) * 1024
    # In bytes on macOS, in KiB elsewhere.
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments],  # noqa: S607 - the one that a shell here would find
            cwd=folder,
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _os_name() -> str:
    try:
        return f"{platform.freedesktop_os_release()['PRETTY_NAME']}, {platform.machine()}"
    except (OSError, KeyError):
        return platform.platform(terse=True)


def _version(distributions: tuple[str, ...]) -> str | None:
    for distribution in distributions:
        try:
            return metadata.version(distribution)
        except metadata.PackageNotFoundError:
            continue
    return None
