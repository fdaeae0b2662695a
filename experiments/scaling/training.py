"""Seconds of an epoch on so many machines that sum their gradients after each step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from experiments.scaling.assumptions import Assumptions
from experiments.scaling.clips import MAXLEN, TRAINING_SHARE, ClipSet
from experiments.scaling.extraction import Estimate
from experiments.scaling.sharing import ring_seconds, speeds

_SAMPLED_STEPS = 200
_BYTES_A_WEIGHT = 4
_CONV3D_FRAMES = 28
_CONV3D_FRAME_SHARE = 342 * 256 / (160 * 120)  # bytes of such a frame, by pixels


@dataclass(frozen=True)
class Trained:
    """A model as the cluster sees it.

    Args:
        name: for tables.
        num_weights: whose gradients are summed.
        batch_size: clips a machine, where the whole batch may be as large as that.
    """

    name: str
    num_weights: int
    batch_size: int

    def clip_bytes(self, clips: ClipSet, given: Assumptions) -> float:
        """That a clip's training reads."""
        if self.name == "TT-GRU":
            return clips.expected_seen * given.frame_bytes
        return _CONV3D_FRAMES * _CONV3D_FRAME_SHARE * given.frame_bytes

    def step_seconds(
        self, lengths: NDArray[np.float64], clips: ClipSet, given: Assumptions
    ) -> NDArray[np.float64]:
        """A machine's computation for batches (..., batch) of clips of so many frames: (...)."""
        if self.name != "TT-GRU":
            return np.full(lengths.shape[:-1], lengths.shape[-1] / given.conv3d_clips_per_second)
        seen = np.minimum(lengths, MAXLEN)
        loop = seen.max(axis=-1) * given.gru_step_seconds
        return seen.sum(axis=-1) * _frame_seconds(clips, self.batch_size, given) + loop


def models(given: Assumptions) -> tuple[Trained, Trained]:
    """The smallest and the largest that the suite trains."""
    return (
        Trained("TT-GRU", given.gru_weights, 16),
        Trained("conv3d", given.conv3d_weights, 30),
    )


def epoch_estimate(
    model: Trained, clips: ClipSet, num_machines: int, given: Assumptions
) -> Estimate:
    """Simulate steps, and count them up to an epoch.

    The next batch is read while one is computed; the sum waits for the slowest machine. The whole
    batch grows with the machines up to `largest_batch`; machines beyond a clip each are idle.
    A failure costs the repair and half of what lies between checkpoints, of all machines.
    """
    random = np.random.default_rng(given.seed)
    batch = min(model.batch_size * num_machines, max(given.largest_batch, model.batch_size))
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
    """Seconds of each machine in each of some steps, (steps, machines)."""
    lengths = clips.lengths(_SAMPLED_STEPS * working * batch, random)
    shape = (_SAMPLED_STEPS, working)
    exact = model.step_seconds(lengths.reshape(*shape, batch), clips, given)
    noise = np.exp(given.step_spread * random.standard_normal(shape) - given.step_spread**2 / 2)
    return exact * noise / speeds(working, given.slow_share, given.slow_factor)


def _frame_seconds(clips: ClipSet, batch_size: int, given: Assumptions) -> float:
    """What a frame takes besides the time loop, so that a machine alone is as fast as measured."""
    random = np.random.default_rng(given.seed)
    seen = np.minimum(clips.lengths(_SAMPLED_STEPS * batch_size, random), MAXLEN)
    seen = seen.reshape(_SAMPLED_STEPS, batch_size)
    loop = float(seen.max(axis=1).mean()) * given.gru_step_seconds
    frames = float(seen.sum(axis=1).mean())
    return max(0.0, 1 / given.gru_frames_per_second - loop / frames)


def _lost_to_failures(num_machines: int, given: Assumptions) -> float:
    """How many times longer it takes for the failures."""
    each = given.repair_seconds + given.checkpoint_seconds / 2
    return 1 + num_machines * each / (3600 * given.mtbf_hours)
