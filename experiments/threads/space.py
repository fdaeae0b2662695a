"""What can be set for each kind of work on a machine, and where a search begins."""

from __future__ import annotations

import math
from typing import Any, get_args

from experiments.runtime import ALL_CPUS, choices_of_cpus, default_threads
from experiments.threads.search import Axis, Point
from experiments.threads.workloads import WorkloadName
from preprocess.machine import Machine

WORKLOADS: tuple[WorkloadName, ...] = get_args(WorkloadName)
_PICTURES = ("alexnet", "resnet", "classify")
_MODEL_BYTES, _BATCH_BYTES = 1.5e9, 0.35e9  # of AlexNet, measured; ResNet-50 takes less
_MIN_CORES_TO_VARY_DECODERS = 8  # a decoder feeds some ten cores with AlexNet's frames


class Space:
    """The settings of one kind of work that are searched.

    Args:
        workload: the kind of work.
        machine: where it is to run.
    """

    def __init__(self, workload: WorkloadName, machine: Machine) -> None:
        self.workload = workload
        self._machine = machine
        cpus = tuple(choices_of_cpus(machine))
        counts = counts_up_to(machine.num_cpus)
        if workload == "extract":
            self.axes = [Axis("jobs", counts), Axis("opencv_threads", counts[:3])]
        else:
            self.axes = [Axis("intra_op", counts), Axis("inter_op", counts)]
            if workload == "classify" and machine.num_cores >= _MIN_CORES_TO_VARY_DECODERS:
                self.axes.append(Axis("jobs", counts_up_to(machine.num_cores // 2)[1:]))
        if len(cpus) > 1:
            self.axes.append(Axis("cpus", cpus, ordered=False))

    @property
    def default(self) -> Point:
        """The point of `--threads auto` where nothing was measured."""
        if self.workload == "extract":
            return self._point(jobs=self._machine.num_cpus, opencv_threads=1)
        threads = default_threads(self._machine, self.workload)
        return self._point(intra_op=threads.intra_op, inter_op=threads.inter_op)

    @property
    def stock(self) -> Point | None:
        """What TensorFlow takes if it is told nothing: a thread a logical CPU, in both pools."""
        if self.workload == "extract":
            return None
        return self._point(intra_op=self._machine.num_cpus, inter_op=self._machine.num_cpus)

    def starts(self) -> list[Point]:
        """Points to begin from, of different kinds."""
        cpus, cores = self._machine.num_cpus, self._machine.num_cores
        if self.workload == "extract":
            pairs = [(cpus, 1), (cores, 1), (max(1, cores // 2), 2)]
            points = [self._point(jobs=a, opencv_threads=b) for a, b in pairs]
        else:
            node = min(cores, math.ceil(cores / len(self._machine.numa_nodes)))
            pairs = starting_pairs(cpus, cores, node)
            points = [self._point(intra_op=a, inter_op=b) for a, b in pairs]
        return list(dict.fromkeys(points))

    def is_allowed(self, point: Point) -> bool:
        """Whether memory suffices for the batches that the setting computes at once."""
        if self.workload not in _PICTURES or not self._machine.memory_bytes:
            return True
        wanted = _MODEL_BYTES + _BATCH_BYTES * self.setting(point)["inter_op"]
        return wanted <= 0.8 * self._machine.memory_bytes or point == self.default

    def setting(self, point: Point) -> dict[str, Any]:
        """Value by axis."""
        return dict(zip((axis.name for axis in self.axes), point, strict=True))

    def _point(self, **wanted: int) -> Point:
        """The point nearest to some numbers; the other axes are as they are by default."""
        others = {"cpus": ALL_CPUS, "jobs": max(2, self._machine.num_cores // 8)}
        values = {**others, **wanted}
        return tuple(
            values[axis.name]
            if not axis.ordered
            else min(axis.values, key=lambda value: (abs(value - values[axis.name]), value))
            for axis in self.axes
        )


def starting_pairs(cpus: int, cores: int, node_cores: int) -> list[tuple[int, int]]:
    """Sizes of the two pools that each are best for some kind of work.

    Args:
        cpus: logical CPUs.
        cores: physical cores.
        node_cores: physical cores of a NUMA node.
    """
    root, quarter = max(1, math.isqrt(cores)), max(1, cores // 4)
    return [
        *((cpus, cpus), (cores, 1), (cores, 4), (1, cores)),
        *((quarter, 4), (root, root), (2, 2), (node_cores, 1), (node_cores, 4)),
    ]


def counts_up_to(most: int) -> tuple[int, ...]:
    """1, 2, 3, 4, 6, 8, 12, 16, 24, ... and `most` itself."""
    found, step = {most}, 1
    while step <= most:
        found |= {step, step * 3 // 2} if step > 1 else {step}
        step *= 2
    return tuple(sorted(count for count in found if count <= most))
