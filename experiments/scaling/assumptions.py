"""What the simulation rests on: rates that were measured here, and what is assumed of a cluster."""

from __future__ import annotations

from dataclasses import dataclass, replace

from common.errors import InputError


@dataclass(frozen=True)
class Assumptions:
    """Rates of a machine, of what machines share, and prices.

    "Measured" is followed by the page with the figure; 2 virtual cores are a machine. All else is
    assumed, with its source where there is one, and a flag away from another value.
    """

    cores: int = 2
    """Of a machine; decoding processes, too."""
    extraction_frames_per_second: float = 11147.0
    """Of a machine, 320x240 MPEG-1 to 160x120 in LZ4. Measured: README.md; on a machine with other
    work besides 6,165, docs/data.md."""
    frame_bytes: float = 46400.0
    """Of a stored 160x120 frame. Measured: docs/data.md, UCF101's clips; with zstd 28,000."""
    gru_frames_per_second: float = 14132.0
    """Of training the TT-GRU, float32, batch 16, at most 450 frames. Measured: docs/engine.md."""
    gru_step_seconds: float = 147e-6
    """Of it, a step of the time loop, forward and back, batch 16: 59 + 88 us. Measured:
    docs/engine.md."""
    gru_weights: int = 203435
    """The layer's 200,608 (docs/tensor_train.md) and a softmax of 11 classes over 256 units."""
    conv3d_clips_per_second: float = 3.08
    """Of training conv3d on 28 frames of 342x256. Measured: docs/ucf101.md."""
    conv3d_weights: int = 320117237
    """Read from docs/ucf101.md."""
    client_seconds_per_clip: float = 21e-6
    """Finding and planning a clip, by the one command that deals out work. Measured:
    docs/scaling.md, on a local disk."""
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
    """Between checkpoints of training: experiments/training/loop.py."""
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
        """Objects in place of files: a shard is there, under its name, once it is sent whole."""
        return replace(
            self,
            storage_gigabytes_per_second=self.object_gigabytes_per_second,
            publish_seconds=0.0,
            dollars_per_gigabyte_month=self.object_dollars_per_gigabyte_month,
        )

    @property
    def network_bytes_per_second(self) -> float:
        """Of a machine's link."""
        return self.network_gigabits * 1e9 / 8

    @property
    def storage_bytes_per_second(self) -> float:
        """Of all machines together."""
        return self.storage_gigabytes_per_second * 1e9

    @property
    def core_frames_per_second(self) -> float:
        """Extracted by a decoding process."""
        return self.extraction_frames_per_second / self.cores

    @property
    def availability(self) -> float:
        """Share of the time that a machine is up."""
        mtbf = 3600 * self.mtbf_hours
        return mtbf / (mtbf + self.repair_seconds)

    def check(self) -> None:
        """See that each can be.

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
