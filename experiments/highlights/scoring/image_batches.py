"""Pictures of a recording in batches, read ahead while earlier batches are scored.

Another process reads, which may die without harm to its owner.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from experiments.clips.images import WHOLE, ImageReader, ImageSettings, TimeRange
from experiments.media.recording import Chunk
from preprocess.errors import DecodeError
from preprocess.video.decode import refusals_named
from preprocess.video.frame_differences import (
    NO_DIFFERENCES,
    DifferenceMeter,
    FrameDifferences,
)
from preprocess.video.time_ranges import format_time
from preprocess.workers.child_process import (
    STALL_SECONDS,
    describe_death,
    ended_if_stalled,
)
from preprocess.workers.pool import DecoderLoader, WorkerDiedError, WorkerPool

if TYPE_CHECKING:
    from experiments.clips.images import Box

STRETCH_SECONDS = 300
"""Approximate length of a stretch. Its sound is decoded on its own, and scoring resumes there."""
_BATCHES_AHEAD = 3
# Time without pictures, beyond the step between two, that is reported.
_NOTICED_GAP_SECONDS = 1.0


@dataclass(frozen=True)
class Batch:
    """Consecutive pictures of a recording.

    Args:
        times: times of the pictures in seconds of the recording, (N,), to the microsecond.
        images: uint8 (N, H, W, 3).
        until: end of what has been read, in seconds of the recording.
        notices: sentences about what went wrong since the last batch.
        differences: differences of the frames decoded since the last batch, in seconds of the
            recording.
    """

    times: NDArray[np.float64]
    images: NDArray[np.uint8]
    until: float
    notices: tuple[str, ...] = ()
    differences: FrameDifferences = NO_DIFFERENCES


@dataclass(frozen=True)
class BatchReader:
    """Reader of the pictures of a recording; iterate over it for batches.

    The sound of each stretch of some minutes is decoded on its own, wherever reading began. So a
    run that is resumed sees the same pictures as one that was not stopped.

    Args:
        chunks: the recording.
        settings: how the pictures are made.
        box: part of the frame that shows the face; None for all of it.
        after: pictures up to this time are left out, in seconds of the recording.
        stretch: part of a lone chunk that is read, in seconds after its first frame, as `parts`
            makes it. None for all of the recording.
        batch_size: pictures per batch; the last batch of a chunk may be smaller.
        threads: threads of the decoder.
        allow_failures: whether to leave out a chunk that cannot be read.
        measures: whether to measure the differences of all frames that are decoded.
    """

    chunks: Sequence[Chunk]
    settings: ImageSettings
    box: Box | None = None
    after: float = -math.inf
    stretch: TimeRange | None = None
    batch_size: int = 32
    threads: int = 1
    allow_failures: bool = False
    measures: bool = False

    def __iter__(self) -> Generator[Batch]:
        """Yield all batches. Some are read ahead, by processes that may die.

        Raises:
            DecodeError: if a chunk cannot be read, unless that is allowed.
        """
        pool = WorkerPool()
        batches = (batch for chunk in self.chunks for batch in self._elsewhere(chunk, pool))
        # One thread: a generator cannot be advanced by two at once, and batches stay in order.
        with ThreadPoolExecutor(1) as thread:
            waiting = deque(thread.submit(next, batches, None) for _ in range(_BATCHES_AHEAD))
            try:
                while (batch := waiting.popleft().result()) is not None:
                    waiting.append(thread.submit(next, batches, None))
                    yield batch
            finally:
                for future in waiting:
                    future.cancel()
                # A killed process ends the thread's wait for its next batch.
                pool.close()

    def parts(self) -> list[BatchReader]:
        """Split into readers of some minutes each, in order, that give the same pictures."""
        return [
            replace(self, chunks=(chunk,), stretch=stretch)
            for chunk in self.chunks
            for stretch in self._wanted(chunk)
        ]

    def _wanted(self, chunk: Chunk) -> tuple[TimeRange, ...]:
        if self.stretch is not None:
            return (self.stretch,)
        return _stretches(chunk, self.settings, self.after - chunk.offset - chunk.video_start)

    def _elsewhere(self, chunk: Chunk, pool: WorkerPool) -> Iterator[Batch]:
        """Yield all batches of a chunk, read by a process of the pool."""
        stretches = self._wanted(chunk)
        if not stretches:
            return
        try:
            yield from pool.answers(DecoderLoader(read_watched), replace(self, chunks=(chunk,)))
        except (DecodeError, WorkerDiedError) as error:
            reason = str(error)
            if isinstance(error, WorkerDiedError):
                reason = describe_death(error.cause, STALL_SECONDS)
            if not self.allow_failures:
                raise DecodeError(f"{chunk.path}: {reason}") from error
            end = chunk.offset + min(chunk.video_start + stretches[-1][1], chunk.duration)
            yield _nothing(self.settings, end, f"{chunk.path} is left out: {reason}.")

    def read_here(
        self, follow: Callable[[Callable[[], object]], object] = lambda progress: None
    ) -> Iterator[Batch]:
        """Yield all batches of a lone chunk in this process; the last one has the notices.

        Args:
            follow: called with a function of the number of decoded frames, for a stall watch.

        Raises:
            DecodeError: if the chunk cannot be read.
        """
        (chunk,) = self.chunks
        stretches = self._wanted(chunk)
        zero = chunk.offset + chunk.video_start
        watch = _Watch(chunk, self.settings, (stretches[0][0], stretches[-1][1]))
        meter = DifferenceMeter() if self.measures else None
        with ImageReader(
            chunk.file,
            self.settings,
            box=self.box,
            sound_track=chunk.track,
            stretches=stretches,
            threads=self.threads,
            meter=meter,
        ) as reader:
            follow(lambda: reader.num_decoded)
            is_last = False
            while not is_last:
                times, images = self._read(reader, zero, watch)
                is_last = len(times) < self.batch_size
                # At the end, when all gaps and complaints are known.
                notices = watch.notices(reader.complaints) if is_last else ()
                until = chunk.offset + (watch.end if is_last else watch.last)
                differences = NO_DIFFERENCES
                if meter is not None:
                    if is_last and reader.reached_end:
                        meter.end(chunk.duration - chunk.video_start)
                    differences = meter.take(zero)
                yield Batch(times, images, until, notices, differences)

    def _read(
        self, reader: ImageReader, zero: float, watch: _Watch
    ) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
        """Read times and pictures of one batch, which is smaller at the end of the chunk."""
        images = np.empty((self.batch_size, *self.settings.frame_shape), np.uint8)
        times: list[float] = []
        while len(times) < self.batch_size:
            if not reader.read_into(images[len(times)]):
                break
            shown = round(zero + reader.time_seconds, 6)
            # What is not taken is overwritten by the next picture. Both are rounded to the
            # microsecond, as in the file of scores, so that none is scored twice or never.
            if watch.sees(reader.time_seconds) and shown > self.after:
                times.append(shown)
        return np.array(times), images[: len(times)]


class _Watch:
    """Record of what is wrong with the pictures of a chunk, or of a stretch of it."""

    def __init__(self, chunk: Chunk, settings: ImageSettings, stretch: TimeRange) -> None:
        self._chunk = chunk
        step = 1 / settings.fps if settings.fps else (settings.every or 1) / float(chunk.rate)
        self._longest = step + _NOTICED_GAP_SECONDS
        self._gaps: list[tuple[float, float]] = []
        self._num_behind = 0
        self._lacks_sound = chunk.sound is None and "sound" in settings.parts
        self.end = min(chunk.video_start + stretch[1], chunk.duration)
        """End of what is read, in seconds of the chunk."""
        self.last = chunk.video_start + stretch[0]
        """Time of the last picture seen, in seconds of the chunk."""
        # Only a whole chunk can lack pictures; a stretch may lie in a gap.
        self._lacks_images = stretch[0] == 0 and self.end == chunk.duration

    def sees(self, seconds: float) -> bool:
        """Record a picture by its seconds after the first one; False if it lies past the end."""
        time = self._chunk.video_start + seconds
        if time >= self._chunk.duration:
            self._num_behind += 1
            return False
        self._lacks_images = False
        self._reach(time)
        return True

    def notices(self, complaints: Sequence[str]) -> tuple[str, ...]:
        """Sentences about what was wrong, to be asked for at the end.

        Raises:
            DecodeError: if the whole chunk had no picture.
        """
        if self._lacks_images:
            raise DecodeError("no picture could be decoded")
        self._reach(self.end)
        found = []
        if self._lacks_sound:
            found.append("it has no sound; that part of its pictures is black.")
        found += complaints
        if self._gaps:
            found.append(self._gaps_text())
        if self._num_behind:
            found.append(f"{self._num_behind} pictures say that they are shown after its end.")
        return tuple(f"{self._chunk.path}: {text}" for text in found)

    def _reach(self, time: float) -> None:
        if time - self.last > self._longest:
            self._gaps.append((self.last, time))
        self.last = time

    def _gaps_text(self) -> str:
        (start, end), others = self._gaps[0], self._gaps[1:]
        text = f"no picture from {format_time(start)} to {format_time(end)}"
        if others:
            seconds = sum(end - start for start, end in self._gaps)
            text += f" and in {len(others)} more places, {seconds:.0f} s in all"
        return f"{text}; nothing is known of that."


def _stretches(chunk: Chunk, settings: ImageSettings, after: float) -> tuple[TimeRange, ...]:
    """Divide what is to be read of a chunk into stretches, in seconds after its first frame.

    Each stretch begins with a sample, so samples at a rate are the same as without stretches.
    Where every n-th frame is taken there is one stretch.

    Args:
        chunk: the file.
        settings: how the pictures are made.
        after: end of what has been read already.
    """
    end = chunk.duration - chunk.video_start
    if settings.fps is None:
        return WHOLE if after < end else ()
    # A whole number of samples.
    length = math.ceil(STRETCH_SECONDS * settings.fps) / settings.fps
    number = max(math.ceil(end / length), 1)
    # The last stretch goes on to the end of the file, wherever that is.
    edges = [*(place * length for place in range(number)), math.inf]
    return tuple((start, stop) for start, stop in pairwise(edges) if after < min(stop, end))


def _nothing(settings: ImageSettings, until: float, notice: str) -> Batch:
    return Batch(np.empty(0), np.empty((0, *settings.frame_shape), np.uint8), until, (notice,))


def read_watched(reader: BatchReader) -> Iterator[Batch]:
    """Yield all batches of a lone chunk; this process is ended if the decoder stalls."""
    with refusals_named(), ended_if_stalled(STALL_SECONDS) as watch:
        for batch in reader.read_here(watch.follow):
            with watch.waiting():
                yield batch
