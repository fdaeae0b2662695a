"""Simulate extraction and training on 1 to 1,000 machines: duration, cost and bottleneck.

    python -m experiments.scaling
    python -m experiments.scaling --network-gigabits 25 --storage-gigabytes-per-second 3.1

It starts from rates that were measured on one machine and from assumptions about a cluster, each of
which is a flag. docs/scaling.md explains the simulation, docs/log.md has its tables.
"""

from __future__ import annotations

import csv
import io
import math
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm
from tyro.conf import arg

from common.command_line import parse_arguments
from common.errors import InputError
from common.files import write_atomically
from common.formatting import count, duration, markdown_table, percent, plural
from experiments.process.command import run_command
from experiments.runs.run import require_place

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from experiments.runs.plots import Theme


# Inputs of the simulation: rates that were measured here, and assumptions about a cluster.


@dataclass(frozen=True)
class Assumptions:
    """Rates of a machine, of what machines share, and prices.

    "Measured" is followed by the page with the figure; 2 virtual cores are a machine. All else is
    assumed, with its source where there is one, and a flag away from another value.
    """

    cores: int = 2
    """Of a machine; decoding processes, too."""
    extraction_frames_per_second: float = 11147.0
    """Of a machine, 320x240 MPEG-1 to 160x120 in LZ4. Measured by `make demo`; on a machine with
    other work besides 6,165. Both: docs/log.md."""
    frame_bytes: float = 46400.0
    """Of a stored 160x120 frame. Measured: docs/log.md, UCF101's clips; with zstd 28,000."""
    gru_frames_per_second: float = 14132.0
    """Of training the TT-GRU, float32, batch 16, at most 450 frames. Measured: docs/log.md."""
    gru_step_seconds: float = 147e-6
    """Of it, a step of the time loop, forward and back, batch 16: 59 + 88 us. Measured:
    docs/log.md."""
    gru_weights: int = 203435
    """The layer's 200,608 (docs/tensor_train.md) and a softmax of 11 classes over 256 units."""
    conv3d_clips_per_second: float = 3.08
    """Of training conv3d on 28 frames of 342x256. Measured: docs/log.md."""
    conv3d_weights: int = 320117237
    """Read from docs/ucf101.md."""
    client_seconds_per_clip: float = 21e-6
    """Finding and planning a clip, by the one command that deals out work. Measured:
    docs/log.md, on a local disk."""
    publish_seconds: float = 0.005
    """For that command to give a finished shard its name, one after the other. Assumed: a sync and
    a renaming over the network."""
    dispatch_seconds: float = 0.001
    """For the scheduler to deal out a task. Dask's documentation: about a millisecond."""
    network_gigabits: float = 10.0
    """Of a machine's link. Assumed; 25 is common, too."""
    network_latency_seconds: float = 100e-6
    """Of a message of an all-reduce, gRPC included. Assumed."""
    storage_gigabytes_per_second: float = 1.25
    """Of what all machines read and write. Assumed: one file server on a link of 10 Gbit/s."""
    object_gigabytes_per_second: float = 100.0
    """The same of object storage, which then replaces the file server. Assumed; it has no limit
    that is published, only 3,500 writes and 5,500 reads a second and prefix (Amazon's S3)."""
    slow_share: float = 0.02
    """Of the machines, rounded, that are slow. Assumed."""
    slow_factor: float = 2.0
    """How many times slower they are. Assumed."""
    step_spread: float = 0.05
    """Standard deviation of the logarithm of a training step's duration on a machine. Assumed;
    bench_tt's spreads are 1 to 12 %."""
    mtbf_hours: float = 720.0
    """Between a machine's failures. Assumed: a month; spot machines a day."""
    repair_seconds: float = 600.0
    """Until a failed machine is replaced, or training goes on without it. Assumed."""
    checkpoint_seconds: float = 20.0
    """Between checkpoints of training: experiments/training/checkpoints.py."""
    largest_batch: int = 256
    """Clips a step that learning bears; 16 a machine up to there. Assumed."""
    dollars_per_core_hour: float = 0.04
    """Assumed: an on-demand virtual core of a large provider."""
    dollars_per_gigabyte_month: float = 0.08
    """Of the file server's disks. Assumed."""
    object_dollars_per_gigabyte_month: float = 0.023
    """Of object storage. Assumed: the list price of a large provider."""
    longest_first: bool = False
    """Deal out the units with most frames first; sizes are then known before decoding."""
    speculate: bool = False
    """Let a machine that has nothing left to do repeat the unit that would end last."""
    clips_per_unit: int = 16
    """At most, in a task and a shard: preprocess/extraction/plan.py."""
    seed: int = 0
    """Of lengths, durations and failures."""

    def with_object_storage(self) -> Assumptions:
        """Replace the file server by object storage.

        An object appears under its name once it is sent whole, so that nobody has to publish it.
        """
        return replace(
            self,
            storage_gigabytes_per_second=self.object_gigabytes_per_second,
            publish_seconds=0.0,
            dollars_per_gigabyte_month=self.object_dollars_per_gigabyte_month,
        )

    @property
    def network_bytes_per_second(self) -> float:
        """Bandwidth of a machine's link, in bytes per second."""
        return self.network_gigabits * 1e9 / 8

    @property
    def storage_bytes_per_second(self) -> float:
        """Bandwidth of the storage for all machines together, in bytes per second."""
        return self.storage_gigabytes_per_second * 1e9

    @property
    def core_frames_per_second(self) -> float:
        """Frames that a decoding process extracts per second."""
        return self.extraction_frames_per_second / self.cores

    @property
    def availability(self) -> float:
        """Fraction of the time that a machine is up."""
        mtbf = 3600 * self.mtbf_hours
        return mtbf / (mtbf + self.repair_seconds)

    def check(self) -> None:
        """Check that all values are possible.

        Raises:
            InputError: if a rate or a price is below zero, or a size or a rate is zero.
        """
        may_be_zero = {
            *("client_seconds_per_clip", "publish_seconds", "dispatch_seconds"),
            *("network_latency_seconds", "gru_step_seconds", "slow_share", "step_spread"),
            *("repair_seconds", "checkpoint_seconds", "dollars_per_core_hour", "seed"),
            *("dollars_per_gigabyte_month", "object_dollars_per_gigabyte_month"),
        }
        for name, value in vars(self).items():
            if name in Assumptions.__dataclass_fields__ and not isinstance(value, bool):
                flag = f"--{name.replace('_', '-')}"
                if value < 0 or (value == 0 and name not in may_be_zero):
                    rule = "at least 0" if name in may_be_zero else "more than 0"
                    raise InputError(f"{flag} must be {rule}. Received {value}.")
        if self.slow_share > 1 or self.slow_factor < 1:
            raise InputError(
                "--slow-share must be at most 1 and --slow-factor at least 1. Received "
                f"{self.slow_share} and {self.slow_factor}."
            )


@dataclass(frozen=True)
class Arguments(Assumptions):
    """Simulate extraction and training on 1 to 1,000 machines."""

    out: Annotated[Path, arg(metavar="DIR")] = Path("runs/scaling")
    """Folder for cells.csv, tables.md and a picture a job."""
    page: Annotated[Path | None, arg(metavar="FILE")] = None
    """A page whose tables are filled in, such as docs/log.md; its pictures go to images/."""


def _run(arguments: Arguments) -> int:

    arguments.check()
    require_place(arguments.out)
    page = arguments.page.read_text(encoding="utf-8") if arguments.page else None
    cells = all_cells(arguments)
    made = blocks(cells, all_changes(arguments))
    text = "\n\n".join(f"## {name}\n\n{content}" for name, content in made.items())
    written = {arguments.out / "cells.csv": cells_csv(cells)}
    written[arguments.out / "tables.md"] = f"{text}\n".encode()
    images = arguments.out
    if arguments.page and page is not None:
        written[arguments.page] = fill(page, made).encode()
        images = arguments.page.parent / "images"
    for job in dict.fromkeys(cell.job for cell in cells):
        name = f"scaling_{job.split(',')[0].lower().replace('-', '_')}.png"
        written[images / name] = job_png([cell for cell in cells if cell.job == job])
    for path, content in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
        print(f"wrote {path}")
    return 0


# The data sets, and the lengths of their clips.


MAXLEN = 450
# Four fifths of the four folds of five that are not tested.
TRAINING_SHARE = 0.64


@dataclass(frozen=True)
class ClipSet:
    """Set of clips whose lengths have a log-normal distribution.

    Args:
        name: name in tables.
        num_clips: number of clips.
        mean_frames: mean length in frames, before the longest clips are cut.
        longest: largest length in frames.
        spread: standard deviation of the logarithm of a length.
    """

    name: str
    num_clips: int
    mean_frames: float
    longest: int
    spread: float

    def lengths(self, num_clips: int, random: np.random.Generator) -> NDArray[np.float64]:
        """Draw the frames of some clips, (num_clips,)."""
        # The mean of a log-normal variable is exp(mu + sigma^2 / 2).
        middle = math.log(self.mean_frames) - self.spread**2 / 2
        return np.minimum(random.lognormal(middle, self.spread, num_clips), self.longest).round()

    @property
    def expected_frames(self) -> float:
        """Mean frames of a clip, as `lengths` draws them."""
        return _expected_minimum(self.mean_frames, self.spread, self.longest)

    @property
    def expected_seen(self) -> float:
        """Mean frames of a clip that training sees."""
        return _expected_minimum(self.mean_frames, self.spread, min(MAXLEN, self.longest))


def _expected_minimum(mean: float, spread: float, limit: float) -> float:
    """Expectation of the minimum of a log-normal variable and a limit."""
    middle = math.log(mean) - spread**2 / 2
    if spread == 0:
        return min(mean, limit)
    # E[min(X, c)] = E[X] P(Z < z - sigma) + c P(Z > z), with z the limit in standard deviations.
    z = (math.log(limit) - middle) / spread
    return mean * _normal(z - spread) + limit * (1 - _normal(z))


def _normal(z: float) -> float:
    """Distribution function of the standard normal distribution."""
    return (1 + math.erf(z / math.sqrt(2))) / 2


# UCF11: docs/log.md and its benchmark (experiments/bench_tt.py), whose gamma
# distribution has the spread of this log-normal one. UCF101: its authors' 7.21 s at 25 frames/s
# (Soomro, Zamir, Shah, 2012); the number of clips is preprocess/sources/catalog.py's.
UCF11 = ClipSet("UCF11, 1,600 clips", 1_600, 200, 900, 0.52)
UCF101 = ClipSet("UCF101, 13,320 clips", 13_320, 180, 1_776, 0.52)
TEN_MILLION = ClipSet("ten million clips", 10_000_000, 180, 1_776, 0.52)
CLIP_SETS = (UCF11, UCF101, TEN_MILLION)


# Sharing of bandwidth and machines by processes that work at the same time.


def fair_rates(limits: NDArray[np.float64], capacity: float) -> NDArray[np.float64]:
    """Share the capacity of a server equally, except for clients that cannot take as much.

    Args:
        limits: largest rate of each client, (n,).
        capacity: rate of the server.

    Returns:
        Rates min(limit, level), (n,), with the level at which they use up the capacity.
    """
    if limits.sum() <= capacity:
        return limits
    ordered = np.sort(limits)
    # Clients in order of their limits: the level is right for the first one whose limit it does not
    # exceed, when all before it take their limits.
    before = np.concatenate([[0.0], np.cumsum(ordered)[:-1]])
    levels = (capacity - before) / np.arange(len(ordered), 0, -1)
    level = levels[np.argmax(levels <= ordered)]
    return np.minimum(limits, level)


def speeds(num_machines: int, slow_share: float, slow_factor: float) -> NDArray[np.float64]:
    """Relative speed of each machine, (num_machines,): 1, and less for the slow ones.

    Their number is the rounded share, and not drawn, so that the curves are not noisy.
    """
    found = np.ones(num_machines)
    found[: round(slow_share * num_machines)] /= slow_factor
    return found[::-1]


def ring_seconds(
    num_bytes: float, num_machines: int, *, bytes_per_second: float, latency_seconds: float
) -> float:
    """Duration of a ring all-reduce: each part goes round twice, less the last step.

    Args:
        num_bytes: size of all gradients.
        num_machines: number of machines in the ring.
        bytes_per_second: bandwidth of a machine's link, in each direction.
        latency_seconds: latency of a message.
    """
    rounds = 2 * (num_machines - 1)
    return rounds * (num_bytes / num_machines / bytes_per_second + latency_seconds)


# Simulation of units on a cluster, event by event: a scheduler, machines that fail, a storage
# server.


_NOTHING = -1
# Frames left of a unit below which it is done: rates and times are rounded.
_DONE_FRAMES = 1e-6


@dataclass(frozen=True)
class Outcome:
    """Outcome of a simulation."""

    seconds: float
    """Time from the first unit dealt out to the last shard published."""
    frames_written: float
    """Number of frames written, those of lost and repeated units included."""
    num_failures: int
    """Number of failures of machines."""
    num_repeated: int
    """Number of units that were begun a second time to end sooner."""


class Cluster:
    """Machines with one decoding process a core, each of which works on one unit at a time.

    A unit's frames are decoded and written as they come, so that a process is limited by its core,
    its part of the machine's link, and its part of the storage. The scheduler deals out one unit
    after the other. A machine that fails loses its units, which are dealt out again. The one
    command that runs the extraction publishes finished shards one after the other.

    Args:
        num_machines: number of machines.
        given: rates and assumptions.
        random: generator of the failures.
    """

    def __init__(self, num_machines: int, given: Assumptions, random: np.random.Generator) -> None:
        self._given = given
        self._random = random
        cores = given.cores
        link = given.network_bytes_per_second / given.frame_bytes / cores
        speed = np.repeat(speeds(num_machines, given.slow_share, given.slow_factor), cores)
        self._limits = np.minimum(given.core_frames_per_second * speed, link)  # (slots,), frames/s
        # Frames left of each slot's unit.
        self._left = np.zeros(len(self._limits))
        self._unit = np.full(len(self._limits), _NOTHING)
        self._up_at = np.zeros(num_machines)
        self._fails_at = self._time_to_failure(num_machines)
        self._now = 0.0
        self._written = 0.0
        self._failures = 0
        self._repeated: set[int] = set()

    def run(self, frames: NDArray[np.float64]) -> Outcome:
        """Simulate the work on units of some frames, (units,), in this order."""
        waiting = deque(range(len(frames)))
        free_at, published, num_left = 0.0, 0.0, len(frames)
        while num_left:
            # Nothing happens between two events, so that time jumps from each to the next.
            idle = self._idle_slots(waiting)
            if waiting and len(idle) and self._now >= free_at:
                self._begin(idle[0], waiting.popleft(), frames)
                free_at = self._now + self._given.dispatch_seconds
                continue
            if not waiting and self._given.speculate and len(idle):
                self._repeat_last(idle, frames)
            rates = self._slot_rates()
            self._advance_to(
                self._next_event(rates, free_at if waiting and len(idle) else np.inf), rates
            )
            self._fail(waiting)
            num_ended = self._end_units()
            num_left -= num_ended
            if num_ended:
                # A queue of one server: a shard waits until those before it are published.
                published = max(published, self._now) + num_ended * self._given.publish_seconds
        return Outcome(published, self._written, self._failures, len(self._repeated))

    def _time_to_failure(self, size: int) -> NDArray[np.float64]:
        return self._random.exponential(3600 * self._given.mtbf_hours, size)

    def _idle_slots(self, waiting: deque[int]) -> NDArray[np.intp]:
        if not (waiting or self._given.speculate):
            return np.empty(0, np.intp)
        up = np.repeat(self._up_at <= self._now, self._given.cores)
        return np.flatnonzero((self._unit == _NOTHING) & up)

    def _begin(self, slot: np.intp, unit: int, frames: NDArray[np.float64]) -> None:
        self._unit[slot], self._left[slot] = unit, frames[unit]

    def _repeat_last(self, idle: NDArray[np.intp], frames: NDArray[np.float64]) -> None:
        """Begin the unit that would end last again, on the fastest idle slot, if that helps."""
        busy = np.flatnonzero(self._unit != _NOTHING)
        if not len(busy):
            return
        last = busy[np.argmax(self._left[busy] / self._limits[busy])]
        best = idle[np.argmax(self._limits[idle])]
        unit = int(self._unit[last])
        sooner = frames[unit] / self._limits[best] < self._left[last] / self._limits[last]
        if sooner and unit not in self._repeated:
            self._repeated.add(unit)
            self._begin(best, unit, frames)

    def _slot_rates(self) -> NDArray[np.float64]:
        """Current rate of each slot, in frames per second."""
        rates = np.where(self._unit == _NOTHING, 0.0, self._limits)
        capacity = self._given.storage_bytes_per_second / self._given.frame_bytes
        if rates.sum() > capacity:
            busy = rates > 0
            rates[busy] = fair_rates(rates[busy], capacity)
        return rates

    def _next_event(self, rates: NDArray[np.float64], dispatch_at: float) -> float:
        """Time of the next event: a unit's end, a failure, a repair, or a free scheduler."""
        busy = rates > 0
        ends = self._now + (self._left[busy] / rates[busy]).min() if busy.any() else np.inf
        back = self._up_at[self._up_at > self._now]
        return min(ends, self._fails_at.min(), back.min(initial=np.inf), dispatch_at)

    def _advance_to(self, time: float, rates: NDArray[np.float64]) -> None:
        elapsed = time - self._now
        self._now = time
        self._left -= rates * elapsed
        self._written += float(rates.sum()) * elapsed

    def _fail(self, waiting: deque[int]) -> None:
        """Take out the machines that fail now, and put their units back into the queue."""
        for machine in np.flatnonzero(self._fails_at <= self._now):
            slots = np.arange(machine * self._given.cores, (machine + 1) * self._given.cores)
            lost = self._unit[slots]
            self._unit[slots] = _NOTHING
            # A unit that another slot repeats is not lost. Lost ones go first: they would end last.
            waiting.extendleft(int(unit) for unit in lost if unit not in {_NOTHING, *self._unit})
            self._failures += 1
            self._up_at[machine] = self._now + self._given.repair_seconds
            self._fails_at[machine] = self._up_at[machine] + self._time_to_failure(1)[0]

    def _end_units(self) -> int:
        """Free the slots whose units are done, and those that repeat them; returns the number."""
        done = (self._unit != _NOTHING) & (self._left <= _DONE_FRAMES)
        units = np.unique(self._unit[done])
        self._unit[np.isin(self._unit, units)] = _NOTHING
        return len(units)


# Estimates of an extraction, and of the resource that limits it.


# Units that are simulated event by event: enough to show how the last ones end.
_EXACT_UNITS_A_SLOT = 4
_EXACT_UNITS = 1000


@dataclass(frozen=True)
class Estimate:
    """Estimate of one job on some machines."""

    seconds: float
    saturated: str
    """Name of the resource that limits the job."""
    parts: dict[str, float]
    """Seconds that each resource would take alone."""
    num_bytes: float
    """Bytes through the storage."""


def extract_estimate(
    clips: ClipSet, num_machines: int, given: Assumptions, *, exact: bool = False
) -> Estimate:
    """Simulate the extraction of a set of clips.

    If there are many more units than processes, most of them pass in bulk, at the rate of the
    scarcest resource, and the rest event by event.

    Args:
        clips: the clips.
        num_machines: number of machines.
        given: rates and assumptions.
        exact: simulate each unit, however many there are.
    """
    random = np.random.default_rng(given.seed)
    num_units = math.ceil(clips.num_clips / unit_clips(clips, given))
    num_exact = _EXACT_UNITS + _EXACT_UNITS_A_SLOT * num_machines * given.cores
    num_simulated = num_units if exact else min(num_units, num_exact)
    units = unit_frames(clips, num_simulated, given, random)
    total = clips.num_clips * clips.expected_frames if num_simulated < num_units else units.sum()
    parts = bounds(clips, num_machines, given, frames=float(total), num_units=num_units)
    parts["units"] = float(units.max() / _core_rates(num_machines, given).min())
    outcome = Cluster(num_machines, given, random).run(units)
    bulk = 1 - num_simulated / num_units
    steady = max(value for name, value in parts.items() if name not in ("client", "units"))
    # The client plans before anything begins; bulk and simulated units follow one another.
    seconds = parts["client"] + bulk * steady + outcome.seconds
    frames = bulk * float(total) + outcome.frames_written
    return Estimate(seconds, _saturated(parts, seconds), parts, frames * given.frame_bytes)


def unit_clips(clips: ClipSet, given: Assumptions) -> int:
    """Number of clips in a unit, as `preprocess.extraction.plan.split_clips` cuts them."""
    return min(max(clips.num_clips // 64, 1), given.clips_per_unit)


def unit_frames(
    clips: ClipSet, num_units: int, given: Assumptions, random: np.random.Generator
) -> NDArray[np.float64]:
    """Draw the frames of each unit, (num_units,), in the order in which they are dealt out."""
    length = unit_clips(clips, given)
    num_clips = min(num_units * length, clips.num_clips)
    starts = np.arange(0, num_clips, length)
    frames = np.add.reduceat(clips.lengths(num_clips, random), starts)
    return np.sort(frames)[::-1] if given.longest_first else frames


def bounds(
    clips: ClipSet, num_machines: int, given: Assumptions, *, frames: float, num_units: int
) -> dict[str, float]:
    """Seconds that each resource would take alone for the whole set."""
    num_bytes = frames * given.frame_bytes
    return {
        "cpu": frames / float(_core_rates(num_machines, given).sum() * given.availability),
        "network": num_bytes / (num_machines * given.network_bytes_per_second),
        "storage": num_bytes / given.storage_bytes_per_second,
        "scheduler": num_units * given.dispatch_seconds,
        "publishing": num_units * given.publish_seconds,
        "client": clips.num_clips * given.client_seconds_per_clip,
    }


def _core_rates(num_machines: int, given: Assumptions) -> NDArray[np.float64]:
    """Rate of each process by its core, in frames per second."""
    speed = np.repeat(speeds(num_machines, given.slow_share, given.slow_factor), given.cores)
    return given.core_frames_per_second * speed


def _saturated(parts: dict[str, float], seconds: float) -> str:
    """Name the largest part; "units" if too few or unequal units cost more than any part."""
    largest = max(parts, key=lambda name: parts[name])
    return "units" if seconds > 2 * parts[largest] else largest


# Estimates of an epoch on machines that sum their gradients after each step.


_SAMPLED_STEPS = 200
_BYTES_A_WEIGHT = 4
_CONV3D_FRAMES = 28
# Bytes of a frame of 342x256, relative to one of 160x120, by pixels.
_CONV3D_FRAME_SHARE = 342 * 256 / (160 * 120)


@dataclass(frozen=True)
class Trained:
    """A model in training, as the cluster sees it.

    Args:
        name: name in tables.
        num_weights: number of weights whose gradients are summed.
        batch_size: clips a machine, if the whole batch may be that large.
    """

    name: str
    num_weights: int
    batch_size: int

    def clip_bytes(self, clips: ClipSet, given: Assumptions) -> float:
        """Bytes that training reads for a clip."""
        if self.name == "TT-GRU":
            return clips.expected_seen * given.frame_bytes
        return _CONV3D_FRAMES * _CONV3D_FRAME_SHARE * given.frame_bytes

    def step_seconds(
        self, lengths: NDArray[np.float64], clips: ClipSet, given: Assumptions
    ) -> NDArray[np.float64]:
        """Seconds of a machine for batches of clips with lengths (..., batch): (...)."""
        if self.name != "TT-GRU":
            return np.full(lengths.shape[:-1], lengths.shape[-1] / given.conv3d_clips_per_second)
        seen = np.minimum(lengths, MAXLEN)
        # The loop over time is as long as the longest clip; all other work grows with all frames.
        loop = seen.max(axis=-1) * given.gru_step_seconds
        return seen.sum(axis=-1) * _frame_seconds(clips, self.batch_size, given) + loop


def models(given: Assumptions) -> tuple[Trained, Trained]:
    """Return the smallest and the largest model that the suite trains."""
    return (
        Trained("TT-GRU", given.gru_weights, 16),
        Trained("conv3d", given.conv3d_weights, 30),
    )


def epoch_estimate(
    model: Trained, clips: ClipSet, num_machines: int, given: Assumptions
) -> Estimate:
    """Simulate some steps, and extrapolate to an epoch.

    The next batch is read while one is computed; the sum waits for the slowest machine. The whole
    batch grows with the machines up to `largest_batch`; machines beyond a clip each are idle.
    A failure costs the repair and half of what lies between checkpoints, of all machines.
    """
    random = np.random.default_rng(given.seed)
    batch = min(model.batch_size * num_machines, max(given.largest_batch, model.batch_size))
    # A machine needs at least one clip of the batch.
    working = min(num_machines, batch)
    num_steps = math.ceil(TRAINING_SHARE * clips.num_clips / batch)
    computed = _computed(model, clips, working, math.ceil(batch / working), given, random)
    slowest = computed.max(axis=1)
    summing = ring_seconds(
        _BYTES_A_WEIGHT * model.num_weights,
        working,
        bytes_per_second=given.network_bytes_per_second,
        latency_seconds=given.network_latency_seconds,
    )
    read = batch * model.clip_bytes(clips, given)
    share = min(given.storage_bytes_per_second, working * given.network_bytes_per_second)
    # The link of the storage, or those of all machines together, whichever is slower.
    loading = read / share
    step = float(np.maximum(slowest, loading).mean()) + summing
    seconds = step * num_steps * _lost_to_failures(working, given)
    parts = {
        "cpu": float(computed.mean()) * num_steps,
        "stragglers": float((slowest - computed.mean(axis=1)).mean()) * num_steps,
        "network": summing * num_steps,
        "storage": loading * num_steps,
    }
    largest = max(parts, key=lambda name: parts[name])
    if num_machines > working and largest != "storage":
        largest = "batch"
    return Estimate(seconds, largest, parts, read * num_steps)


def _computed(
    model: Trained,
    clips: ClipSet,
    working: int,
    batch: int,
    given: Assumptions,
    random: np.random.Generator,
) -> NDArray[np.float64]:
    """Draw the seconds of each machine in each of some steps, (steps, machines)."""
    lengths = clips.lengths(_SAMPLED_STEPS * working * batch, random)
    shape = (_SAMPLED_STEPS, working)
    exact = model.step_seconds(lengths.reshape(*shape, batch), clips, given)
    # Log-normal with mean 1: the spread makes the slowest machine slower, not the average one.
    noise = np.exp(given.step_spread * random.standard_normal(shape) - given.step_spread**2 / 2)
    return exact * noise / speeds(working, given.slow_share, given.slow_factor)


def _frame_seconds(clips: ClipSet, batch_size: int, given: Assumptions) -> float:
    """Seconds of a frame besides the time loop, fitted to the measured rate of one machine."""
    random = np.random.default_rng(given.seed)
    seen = np.minimum(clips.lengths(_SAMPLED_STEPS * batch_size, random), MAXLEN)
    seen = seen.reshape(_SAMPLED_STEPS, batch_size)
    loop = float(seen.max(axis=1).mean()) * given.gru_step_seconds
    frames = float(seen.sum(axis=1).mean())
    return max(0.0, 1 / given.gru_frames_per_second - loop / frames)


def _lost_to_failures(num_machines: int, given: Assumptions) -> float:
    """Factor by which failures prolong a training."""
    each = given.repair_seconds + given.checkpoint_seconds / 2
    return 1 + num_machines * each / (3600 * given.mtbf_hours)


# All jobs, on all sets, with both kinds of storage, on 1 to 1,000 machines.


MACHINES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
EXTRACTION = "extraction"
Job = Callable[[ClipSet, int, Assumptions], Estimate]


@dataclass(frozen=True)
class Cell:
    """Result of one job on some machines."""

    job: str
    clips: str
    storage: str
    machines: int
    seconds: float
    efficiency: float
    """Speed relative to as many machines that were each as fast as one alone."""
    saturated: str
    gigabytes: float
    """Gigabytes through the storage."""
    dollars: float
    """Cost of the machines."""
    dollars_a_month: float
    """Monthly cost of the stored frames."""


@dataclass(frozen=True)
class Change:
    """Remedy, with the estimates before and after it."""

    what: str
    clips: str
    machines: int
    before: Estimate
    after: Estimate


def jobs(given: Assumptions) -> dict[str, Job]:
    """Jobs by name: extraction, and an epoch of each model."""
    small, large = models(given)
    return {
        EXTRACTION: extract_estimate,
        f"{small.name}, an epoch": partial(epoch_estimate, small),
        f"{large.name}, an epoch": partial(epoch_estimate, large),
    }


def storages(given: Assumptions) -> dict[str, Assumptions]:
    """Kinds of storage by name: one file server, and object storage in its place."""
    return {"file server": given, "object storage": given.with_object_storage()}


def all_cells(given: Assumptions) -> list[Cell]:
    """Simulate all jobs, with a progress bar; takes some seconds."""
    rows = [
        (name, job, clips, kind, rates)
        for name, job in jobs(given).items()
        for clips in CLIP_SETS
        for kind, rates in storages(given).items()
    ]
    bar = tqdm(rows, unit="curve", dynamic_ncols=True, disable=None)
    return [cell for row in bar for cell in _curve(*row)]


def _curve(name: str, job: Job, clips: ClipSet, storage: str, given: Assumptions) -> list[Cell]:
    """Simulate a job on 1 to 1,000 machines."""
    estimates = [job(clips, num_machines, given) for num_machines in MACHINES]
    kept_gigabytes = clips.num_clips * clips.expected_frames * given.frame_bytes / 1e9
    return [
        Cell(
            job=name,
            clips=clips.name,
            storage=storage,
            machines=machines,
            seconds=estimate.seconds,
            efficiency=estimates[0].seconds / (machines * estimate.seconds),
            saturated=estimate.saturated,
            gigabytes=estimate.num_bytes / 1e9,
            dollars=machines * given.cores * estimate.seconds / 3600 * given.dollars_per_core_hour,
            dollars_a_month=kept_gigabytes * given.dollars_per_gigabyte_month,
        )
        for machines, estimate in zip(MACHINES, estimates, strict=True)
    ]


def all_changes(given: Assumptions) -> list[Change]:
    """Simulate each remedy where the resource that it relieves is the bottleneck."""
    return [*_extraction_changes(given), *_training_changes(given)]


def _extraction_changes(given: Assumptions) -> list[Change]:
    objects = given.with_object_storage()
    boundless = replace(objects, storage_gigabytes_per_second=1000.0)
    fast_server = replace(given, storage_gigabytes_per_second=100.0)
    few, many = max(1, given.clips_per_unit // 4), 8 * given.clips_per_unit
    rows: list[tuple[ClipSet, int, str, Assumptions, dict[str, Any]]] = [
        (UCF101, 10, "zstd: 28,000 bytes a frame", given, {"frame_bytes": 28_000.0}),
        (UCF101, 10, "25 Gbit/s for server and machines", given, _LINK_25),
        (UCF101, 10, "object storage", given, _differing(given, objects)),
        (UCF101, 50, "longest units first", objects, {"longest_first": True}),
        (UCF101, 50, "late units are repeated", objects, {"speculate": True}),
        (UCF101, 50, "both", objects, {"longest_first": True, "speculate": True}),
        (UCF101, 50, f"units of {few} clips", objects, {"clips_per_unit": few}),
        (TEN_MILLION, 1000, "a file server of 100 GB/s: each machine publishes its shards",
         fast_server, {"publish_seconds": 0.0}),
        (TEN_MILLION, 1000, f"object storage of 1,000 GB/s: units of {many} clips", boundless,
         {"clips_per_unit": many}),
        (TEN_MILLION, 100, "object storage: machines that fail daily", objects,
         {"mtbf_hours": 24.0}),
    ]  # fmt: skip
    return [
        _change(what, clips, machines, extract_estimate, extract_estimate, rates, new)
        for clips, machines, what, rates, new in rows
    ]


def _training_changes(given: Assumptions) -> list[Change]:
    """Simulate remedies for the training on ten million clips."""
    objects = given.with_object_storage()
    own_disks = {"storage_gigabytes_per_second": given.object_gigabytes_per_second}
    batches = {"largest_batch": 2048}
    rows: list[tuple[int, int, str, Assumptions, dict[str, Any]]] = [
        (0, 10, "frames on each machine's own disk", given, own_disks),
        (0, 100, "batches of 2,048", objects, batches),
        (0, 100, "no slow machine", objects, {"slow_share": 0.0}),
        (1, 100, "25 Gbit/s", objects, {"network_gigabits": 25.0}),
        (1, 100, "batches of 2,048", objects, batches),
        (1, 100, "a hundredth of the weights", objects,
         {"conv3d_weights": given.conv3d_weights // 100}),
    ]  # fmt: skip
    changes = []
    for which, machines, what, rates, new in rows:
        before, after = models(rates)[which], models(replace(rates, **new))[which]
        job, changed = partial(epoch_estimate, before), partial(epoch_estimate, after)
        named = f"{before.name}: {what}"
        changes.append(_change(named, TEN_MILLION, machines, job, changed, rates, new))
    return changes


def _change(
    what: str,
    clips: ClipSet,
    machines: int,
    job: Job,
    changed: Job,
    given: Assumptions,
    new: dict[str, Any],
) -> Change:
    before, after = job(clips, machines, given), changed(clips, machines, replace(given, **new))
    return Change(what, clips.name, machines, before, after)


_LINK_25 = {"network_gigabits": 25.0, "storage_gigabytes_per_second": 3.125}


def _differing(one: Assumptions, other: Assumptions) -> dict[str, Any]:
    return {name: value for name, value in vars(other).items() if vars(one)[name] != value}


# Tables of the cells as Markdown and CSV.


_COST_MACHINES = (1, 10, 100, 1000)
_DAY = 86_400
_TWO_DAYS = 2 * _DAY
END = "<!-- end -->"


def blocks(cells: Sequence[Cell], changes: Sequence[Change]) -> dict[str, str]:
    """Make the tables by the names of their marks: one for each job, the costs, the changes."""
    found = {job.split(",")[0].lower(): _job(_of(cells, job=job)) for job in _jobs(cells)}
    return {**found, "costs": _costs(cells), "changes": _changes(changes)}


def fill(page: str, made: dict[str, str]) -> str:
    """Fill a page: each table goes between `<!-- scaling: NAME -->` and `<!-- end -->`.

    Raises:
        InputError: if the page lacks a mark.
    """
    for name, content in made.items():
        mark = f"<!-- scaling: {name} -->\n"
        before, found, rest = page.partition(mark)
        _, end, after = rest.partition(END)
        if not (found and end):
            raise InputError(f"The page must have the marks {mark.strip()} and {END}; add them.")
        page = f"{before}{mark}{content}\n{END}{after}"
    return page


def cells_csv(cells: Sequence[Cell]) -> bytes:
    """Format the cells as CSV, a row each."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [field.name for field in fields(Cell)], lineterminator="\n")
    writer.writeheader()
    for cell in cells:
        rounded = {key: _rounded(value) for key, value in asdict(cell).items()}
        writer.writerow(rounded)
    return text.getvalue().encode()


def _rounded(value: object) -> object:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _jobs(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(cell.job for cell in cells))


def _of(cells: Sequence[Cell], **wanted: object) -> list[Cell]:
    return [
        cell
        for cell in cells
        if all(getattr(cell, name) == value for name, value in wanted.items())
    ]


def _job(cells: Sequence[Cell]) -> str:
    """Table of seconds, bottleneck and efficiency, with a row for each number of machines."""
    curves = dict.fromkeys((cell.clips, cell.storage) for cell in cells)
    by_place = {(cell.clips, cell.storage, cell.machines): cell for cell in cells}
    body = [
        [count(machines), *(_place(by_place[(*curve, machines)]) for curve in curves)]
        for machines in MACHINES
    ]
    return markdown_table(["machines", *(f"{clips}: {storage}" for clips, storage in curves)], body)


def _place(cell: Cell) -> str:
    return f"{_time(cell.seconds)}, {cell.saturated}, {percent(cell.efficiency)}"


def _time(seconds: float) -> str:
    return f"{seconds / _DAY:.1f} days" if seconds > _TWO_DAYS else duration(seconds)


def _costs(cells: Sequence[Cell]) -> str:
    """Table of the dollars of each job and set, with object storage."""
    body = []
    for job in _jobs(cells):
        for clips in dict.fromkeys(cell.clips for cell in cells):
            row = _of(cells, job=job, clips=clips, storage="object storage")
            shown = [cell for cell in row if cell.machines in _COST_MACHINES]
            gigabytes = f"{count(shown[0].gigabytes)} GB"
            body.append([job, clips, gigabytes, *(_dollars(cell.dollars) for cell in shown)])
            body[-1].append(_dollars(shown[0].dollars_a_month))
    machines = [plural(number, "machine") for number in _COST_MACHINES]
    return markdown_table(["job", "clips", "moved", *machines, "a month for the frames"], body)


def _dollars(value: float) -> str:
    return f"${value:,.0f}" if value >= 10 else f"${value:,.2f}"


def _changes(changes: Sequence[Change]) -> str:
    body = [
        [
            change.what,
            change.clips,
            count(change.machines),
            f"{_time(change.before.seconds)}, {change.before.saturated}",
            f"{_time(change.after.seconds)}, {change.after.saturated}",
        ]
        for change in changes
    ]
    return markdown_table(["change", "clips", "machines", "before", "after"], body)


# Plots of seconds against machines, coloured by the bottleneck.


# Okabe and Ito's colours, each with a mark of its own.
_LOOKS = {
    "cpu": ("#009e73", "o"),
    "storage": ("#d55e00", "s"),
    "network": ("#0072b2", "^"),
    "scheduler": ("#cc79a7", "D"),
    "publishing": ("#e69f00", "v"),
    "client": ("#56b4e9", "P"),
    "units": ("#7a7a7a", "X"),
    "stragglers": ("#1f2933", "*"),
    "batch": ("#b8a800", "h"),
}


def job_png(cells: Sequence[Cell]) -> bytes:
    """Plot a job's curves: a column for each set of clips, a row for each storage; 1950 x 1050 px.

    The dotted line is perfect scaling; the numbers beside the marks are efficiencies.
    """
    from matplotlib.lines import Line2D

    from experiments.runs.plots import LIGHT, dress, new_figure, png_bytes

    figure = new_figure(13, 7, LIGHT)
    sets = list(dict.fromkeys(cell.clips for cell in cells))
    storages = list(dict.fromkeys(cell.storage for cell in cells))
    panels = figure.subplots(len(storages), len(sets), sharex=True, sharey="col", squeeze=False)
    for row, storage in zip(panels, storages, strict=True):
        for axes, clips in zip(row, sets, strict=True):
            curve = [cell for cell in cells if (cell.clips, cell.storage) == (clips, storage)]
            _draw(axes, curve, LIGHT)
            axes.set_title(f"{clips}: {storage}", fontsize=11, loc="left", fontweight="bold")
            dress(axes, LIGHT)
    for axes in panels[-1]:
        axes.set_xlabel("machines")
    for axes in panels[:, 0]:
        axes.set_ylabel("seconds")
    handles = [
        Line2D([], [], color=colour, marker=mark, linestyle="", markersize=8, label=name)
        for name, (colour, mark) in _LOOKS.items()
        if any(cell.saturated == name for cell in cells)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    return png_bytes(figure)


def _draw(axes: Axes, curve: Sequence[Cell], theme: Theme) -> None:
    machines = [cell.machines for cell in curve]
    seconds = [cell.seconds for cell in curve]
    axes.plot(machines, [seconds[0] / number for number in machines], ":", color=theme.text)
    axes.plot(machines, seconds, color=theme.grid, linewidth=2)
    for cell in curve:
        colour, mark = _LOOKS[cell.saturated]
        axes.plot([cell.machines], [cell.seconds], mark, color=colour, markersize=8)
        axes.annotate(
            f"{100 * cell.efficiency:.0f} %" if cell.efficiency > 0.1 else percent(cell.efficiency),
            (cell.machines, cell.seconds),
            textcoords="offset points",
            xytext=(0, 9),
            ha="center",
            fontsize=7,
            color=theme.text,
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.grid(color=theme.grid, linewidth=0.6)
    axes.margins(y=0.12)


def main(args: list[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    arguments = parse_arguments(Arguments, prog="python -m experiments.scaling", args=args)
    return run_command(
        lambda: _run(arguments),
        resume_hint=lambda: "Nothing is kept; the same command simulates anew.",
    )


# Guarded, because spawned processes import this module, too.
if __name__ == "__main__":
    sys.exit(main())
