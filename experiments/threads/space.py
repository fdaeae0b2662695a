"""Grids of settings for each kind of work on a machine, with the points that a search begins at."""

from __future__ import annotations

import glob
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from experiments.process.runtime import (
    ALL_CPUS,
    Threads,
    choices_of_cpus,
    default_threads,
    parse_pair,
)
from experiments.threads import WorkloadName
from preprocess.system.machine import Machine

Point = tuple[Any, ...]
"""A point of the grid: one value for each axis."""
WORKLOADS: tuple[WorkloadName, ...] = get_args(WorkloadName)
BATCH_SIZES = {"tt-train": 16, "alexnet": 64, "resnet": 32, "classify": 64}
_IMAGES = ("alexnet", "resnet", "classify")
# Memory of AlexNet, measured; ResNet-50 takes less.
_MODEL_BYTES, _BATCH_BYTES = 1.5e9, 0.35e9
# One decoder feeds some ten cores with AlexNet's frames: fewer cores have nothing to choose.
_MIN_CORES_TO_VARY_DECODERS = 8


@dataclass(frozen=True)
class Axis:
    """Quantity that is set, and its values; if `ordered`, neighbours behave alike."""

    name: str
    values: tuple[Any, ...]
    ordered: bool = True


@dataclass(frozen=True)
class Task:
    """Work that one process times.

    Args:
        workload: the kind of work.
        setting: value by axis.
        inputs: folder that `prepare` has filled, or the user's own.
        scratch: folder for files that the work writes; emptied afterwards.
        seconds: least time of the measurement.
        policy: dtype policy of the layers.
        batch_size: batch size of the model; 0 if there is none.
    """

    workload: WorkloadName
    setting: dict[str, Any]
    inputs: str
    scratch: str
    seconds: float
    policy: Literal["float32", "mixed_bfloat16"] = "float32"
    batch_size: int = 0

    @property
    def threads(self) -> Threads:
        """Sizes of TensorFlow's pools; a single thread each if it has no part in the work."""
        names = ("intra_op", "inter_op", "cpus")
        given = {name: self.setting[name] for name in names if name in self.setting}
        return Threads(**{"intra_op": 1, "inter_op": 1, **given})


class Space:
    """Grid of the settings of one kind of work.

    Args:
        workload: the kind of work.
        machine: the machine that it runs on.
        only: pairs of values of the first two axes, to which the search is restricted.
    """

    def __init__(
        self, workload: WorkloadName, machine: Machine, *, only: Sequence[tuple[int, int]] = ()
    ) -> None:
        self.workload = workload
        self._machine = machine
        self._only: set[Point] = set()
        self._node_cores = math.ceil(machine.num_cores / len(machine.numa_nodes))
        cpus = tuple(choices_of_cpus(machine))
        # The numbers that matter on a machine are always tried: of a node's cores, all cores, all
        # CPUs.
        counts = counts_up_to(machine.num_cpus) | {machine.num_cores, self._node_cores}
        if workload == "extract":
            self.axes = [_axis("jobs", counts), _axis("opencv_threads", counts_up_to(3) & counts)]
        else:
            threads = default_threads(machine, workload)
            self.axes = [
                _axis("intra_op", counts | {threads.intra_op}),
                _axis("inter_op", counts | {threads.inter_op}),
            ]
            if workload == "classify" and machine.num_cores >= _MIN_CORES_TO_VARY_DECODERS:
                jobs = default_threads(machine, workload).jobs or 1
                self.axes.append(_axis("jobs", counts_up_to(machine.num_cores // 2) - {1} | {jobs}))
        if len(cpus) > 1:
            self.axes.append(Axis("cpus", cpus, ordered=False))
        if only:
            self._restrict(only)

    @property
    def default(self) -> Point:
        """Point that `--threads auto` takes if nothing was measured."""
        if self.workload == "extract":
            return self._point(jobs=self._machine.num_cpus, opencv_threads=1)
        threads = default_threads(self._machine, self.workload)
        return self._point(intra_op=threads.intra_op, inter_op=threads.inter_op)

    @property
    def stock(self) -> Point | None:
        """Point that TensorFlow takes by itself: as many threads as logical CPUs in both pools.

        None for extract, which runs without TensorFlow.
        """
        if self.workload == "extract":
            return None
        cpus = self._machine.num_cpus
        return (cpus, cpus, *self.default[2:])

    def starts(self) -> list[Point]:
        """Points of different kinds to begin from."""
        if self._only:
            return sorted(self._only)
        cpus, cores = self._machine.num_cpus, self._machine.num_cores
        if self.workload == "extract":
            pairs = [(cpus, 1), (cores, 1), (max(1, cores // 2), 2)]
            points = [self._point(jobs=a, opencv_threads=b) for a, b in pairs]
        else:
            pairs = starting_pairs(cpus, cores, self._node_cores)
            points = [self._point(intra_op=a, inter_op=b) for a, b in pairs]
        # Several pairs may have one nearest point.
        return list(dict.fromkeys(points))

    def is_allowed(self, point: Point) -> bool:
        """Whether a point is among those asked for, and memory suffices for its batches."""
        if self._only:
            return point in self._only
        if self.workload not in _IMAGES or not self._machine.memory_bytes:
            return True
        wanted = _MODEL_BYTES + _BATCH_BYTES * self.setting(point)["inter_op"]
        # The default is always measured, since all others are compared with it.
        return wanted <= 0.8 * self._machine.memory_bytes or point == self.default

    def setting(self, point: Point) -> dict[str, Any]:
        """Values of a point by the names of the axes."""
        return dict(zip((axis.name for axis in self.axes), point, strict=True))

    def _restrict(self, only: Sequence[tuple[int, int]]) -> None:
        """Restrict the grid to these pairs and the default."""
        default = self.default
        points = [(*pair, *default[2:]) for pair in only]
        for number in (0, 1):
            values = {default[number], *(pair[number] for pair in only)}
            self.axes[number] = _axis(self.axes[number].name, values)
        self._only = {default, *points}

    def _point(self, **wanted: int) -> Point:
        """Point nearest to some numbers, with the defaults on the other axes."""
        jobs = default_threads(self._machine, self.workload).jobs or 1
        values = {"cpus": ALL_CPUS, "jobs": jobs, **wanted}
        return tuple(
            values[axis.name]
            if not axis.ordered
            else min(axis.values, key=lambda value: (abs(value - values[axis.name]), value))
            for axis in self.axes
        )


def parse_settings(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Parse pairs such as `18,36`.

    Raises:
        InputError: for anything else.
    """
    return [parse_pair(text, "--settings must be pairs of numbers of threads") for text in texts]


def starting_pairs(cpus: int, cores: int, node_cores: int) -> list[tuple[int, int]]:
    """List sizes of the two pools that are each good for some kind of work.

    Args:
        cpus: number of logical CPUs.
        cores: number of physical cores.
        node_cores: number of physical cores of a NUMA node.
    """
    root, quarter = max(1, math.isqrt(cores)), max(1, cores // 4)
    return [
        *((cpus, cpus), (cores, 1), (cores, 4), (1, cores)),
        *((quarter, 4), (root, root), (2, 2), (node_cores, 1), (node_cores, 4)),
    ]


def counts_up_to(max_count: int) -> set[int]:
    """Return 1, 2, 3, 4, 6, 8, 12, 16, 24, ... up to `max_count`, and `max_count` itself."""
    found, step = {max_count}, 1
    while step <= max_count:
        found |= {step, step * 3 // 2}
        step *= 2
    return {count for count in found if count <= max_count}


def _axis(name: str, values: set[int]) -> Axis:
    return Axis(name, tuple(sorted(values)))


# Changes besides the pools, which are tried one at a time at the recommended setting.


_MALLOCS = {"tcmalloc": "libtcmalloc*.so*", "jemalloc": "libjemalloc.so*"}
_LIBRARY_FOLDERS = ("/usr/lib/*-linux-gnu", "/usr/lib64", "/usr/lib", "/usr/local/lib")


@dataclass(frozen=True)
class Variant:
    """Change to the way in which the work is done.

    Args:
        name: name of the change.
        how: flags or variables that make it.
        changes: values of a task's fields.
        environment: environment variables of the process.
        alters_results: whether results may differ from those without it.
    """

    name: str
    how: str
    changes: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    alters_results: bool = False


def variants_of(workload: WorkloadName) -> list[Variant]:
    """List the changes that may matter for a kind of work on this machine."""
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
                # In training another batch size is another training.
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
    """Find the installed libraries that replace glibc's malloc, by name."""
    found = {}
    for name, pattern in _MALLOCS.items():
        paths = [path for folder in _LIBRARY_FOLDERS for path in glob.glob(f"{folder}/{pattern}")]
        # tcmalloc comes in several builds, some of them for debugging.
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
