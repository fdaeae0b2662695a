"""What can be changed besides the pools, one thing at a time: what it takes, and what it brings."""

from __future__ import annotations

import glob
from dataclasses import dataclass, field
from typing import Any

from experiments.threads.workloads import BATCH_SIZES, WorkloadName

_MALLOCS = {"tcmalloc": "libtcmalloc*.so*", "jemalloc": "libjemalloc.so*"}
_LIBRARY_FOLDERS = ("/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")


@dataclass(frozen=True)
class Variant:
    """A change to how the work is done.

    Args:
        name: of the change.
        how: what to type for it.
        changes: values of a task's fields.
        environment: variables of the process.
        alters_results: whether other numbers than before may come out.
    """

    name: str
    how: str
    changes: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    alters_results: bool = False


def variants_of(workload: WorkloadName) -> list[Variant]:
    """The changes that may matter for a kind of work on this machine."""
    found = [_in_environment(name, {"LD_PRELOAD": path}) for name, path in find_mallocs().items()]
    if workload == "extract":
        return found
    size = BATCH_SIZES[workload]
    return [
        Variant(
            "mixed_bfloat16",
            "--policy mixed_bfloat16",
            {"policy": "mixed_bfloat16"},
            alters_results=True,
        ),
        *(
            Variant(
                f"batches of {other}",
                f"--batch-size {other}",
                {"batch_size": other},
                alters_results=workload == "tt-train",
            )
            for other in (size // 2, size * 2)
        ),
        _in_environment("oneDNN off", {"TF_ENABLE_ONEDNN_OPTS": "0"}, alters_results=True),
        _in_environment(
            "XLA for whole graphs",
            {"TF_XLA_FLAGS": "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit"},
            alters_results=True,
        ),
        _in_environment("OMP_NUM_THREADS=1", {"OMP_NUM_THREADS": "1"}),
        *found,
    ]


def find_mallocs() -> dict[str, str]:
    """Libraries that replace glibc's malloc, by name, where they are installed."""
    found = {}
    for name, pattern in _MALLOCS.items():
        paths = [path for folder in _LIBRARY_FOLDERS for path in glob.glob(f"{folder}/{pattern}")]
        whole = [path for path in sorted(paths) if "minimal" not in path and "debug" not in path]
        if whole:
            found[name] = whole[0]
    return found


def _in_environment(
    name: str, environment: dict[str, str], *, alters_results: bool = False
) -> Variant:
    how = " ".join(
        f"{key}={value}" if " " not in value else f'{key}="{value}"'
        for key, value in environment.items()
    )
    return Variant(name, how, environment=environment, alters_results=alters_results)
