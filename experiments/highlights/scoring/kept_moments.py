"""Sound and shots of a recording, kept beside its scores, so that cuts are moved at once.

`run` reads both while it scores: the loudness in a thread, and how much each frame differs from
the one before in the process that decodes. `NAME.loudness.npz` and `NAME.shots.npz` lie beside
`NAME.scores.csv`.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from common.files import write_atomically
from experiments.highlights.selection.scores import Floats
from experiments.highlights.selection.selection import Segment
from experiments.highlights.selection.shots import shots_near
from experiments.highlights.selection.snapping import (
    BLOCK_SECONDS,
    MAX_SHIFT_SECONDS,
    Candidates,
    Loudness,
    quiet_in,
    quiet_near,
    read_loudness,
)
from experiments.media.recording import Chunk, recording_duration
from preprocess.errors import DecodeError
from preprocess.video.frame_differences import NO_DIFFERENCES, FrameDifferences, join_differences

_SCORES_SUFFIX = ".scores.csv"
_SHOTS_SHARE = 0.8  # of the progress; the rest is the sound
_LOOK_SECONDS = 0.2  # between two looks at how far the loudness is


class Moments(NamedTuple):
    """Moments to which a cut may move, in seconds of the recording.

    Args:
        quiet: quiet moments.
        shots: times of changes of shot, (S,).
    """

    quiet: Candidates
    shots: Floats

    def later(self, seconds: float) -> Moments:
        """Return the moments shifted by some seconds."""
        return Moments(self.quiet._replace(times=self.quiet.times + seconds), self.shots + seconds)


class KeptMoments:
    """Loudness and changes of shot of a recording, kept in files beside a reel.

    Close it, or use it with `contextlib.closing`.

    Args:
        out: the reel, beside which the files lie.
        fingerprint: the recording, as `recording_fingerprint` gives it; more values do no harm.
        chunks: the recording.
    """

    def __init__(self, out: Path, fingerprint: dict[str, Any], chunks: Sequence[Chunk]) -> None:
        self._chunks = chunks
        self.loudness = KeptLoudness(out, fingerprint, chunks)
        self.shots = KeptShots(out, fingerprint)

    def near(
        self,
        segments: Sequence[Segment],
        *,
        on_progress: Callable[[float], object] = lambda share: None,
    ) -> Moments:
        """Find the moments near the starts and ends of segments.

        What is not kept is read from the recording.

        Args:
            segments: segments whose cuts are to be moved.
            on_progress: called with the fraction of the work that is done. If it raises, the work
                ends.

        Raises:
            RenderError: if a file cannot be opened.
            DecodeError: if its sound cannot be read.
            WriteError: if what was read cannot be kept.
        """
        shots = shots_near(
            self._chunks,
            segments,
            around=MAX_SHIFT_SECONDS,
            known=self.shots.get(),
            on_progress=lambda share: on_progress(_SHOTS_SHARE * share),
        )

        def advance(share: float) -> None:
            on_progress(_SHOTS_SHARE + (1 - _SHOTS_SHARE) * share)

        loudness = self.loudness.get(advance)
        if loudness is None:
            quiet = quiet_near(self._chunks, segments, on_progress=advance)
        else:
            quiet = quiet_in(loudness, segments)
        return Moments(quiet, shots)

    def close(self) -> None:
        """Stop reading, and keep what was measured."""
        self.loudness.close()
        self.shots.close()


def recording_fingerprint(chunks: Sequence[Chunk]) -> dict[str, Any]:
    """Return what tells a recording from another, as plain values."""
    # Size and time instead of a hash, which would take minutes for a recording of hours.
    files = [chunk.path.stat() for chunk in chunks]
    tracks = [chunk.track for chunk in chunks]
    return {
        "recording": [[file.st_size, file.st_mtime_ns] for file in files],
        # Left out at their defaults, so that scores from before they existed stay valid.
        **({"sound track": tracks[0]} if any(tracks) else {}),
        **({"clock": "continued"} if any(chunk.copy for chunk in chunks) else {}),
    }


def kept_beside(scores: Path, chunks: Sequence[Chunk]) -> KeptMoments:
    """Find what is kept beside a recording's scores."""
    out = scores.with_name(f"{scores.name.removesuffix(_SCORES_SUFFIX)}.mp4")
    return KeptMoments(out, recording_fingerprint(chunks), chunks)


class KeptLoudness:
    """Loudness of a recording, read in a thread while it is scored, and kept beside the scores.

    Args:
        out: the reel, beside which the file lies.
        fingerprint: the recording and its sound track, as plain values.
        chunks: the recording.
    """

    def __init__(self, out: Path, fingerprint: dict[str, Any], chunks: Sequence[Chunk]) -> None:
        self._kept = _KeptArrays(
            out.with_suffix(".loudness.npz"), fingerprint, ("recording", "sound track", "clock")
        )
        self._chunks = chunks
        self._thread = ThreadPoolExecutor(1)
        self._future: Future[list[Loudness | None]] | None = None
        self._num_blocks = 0  # that were read
        self._stopped = False

    def begin(self) -> None:
        """Begin to read, unless the file is there."""
        if self._future is None and self._read() is None:
            self._future = self._thread.submit(self._listen)

    def get(
        self, on_progress: Callable[[float], object] = lambda share: None
    ) -> list[Loudness | None] | None:
        """Return the loudness of each file of the recording; None for one without sound.

        If it is being read, the end of that is waited for. Without any loudness, return None.

        Args:
            on_progress: called with the fraction that is read. If it raises, the waiting ends.

        Raises:
            WriteError: if it cannot be kept.
        """
        if (kept := self._read()) is not None or self._future is None:
            return kept
        total = recording_duration(self._chunks)
        while True:
            with suppress(TimeoutError):
                found = self._future.result(_LOOK_SECONDS)
                break
            on_progress(min(self._num_blocks * BLOCK_SECONDS / total, 1.0))
        self._write(found)
        return found

    def close(self) -> None:
        """Stop reading after the file that is being read."""
        self._stopped = True
        self._thread.shutdown(cancel_futures=True)

    def _listen(self) -> list[Loudness | None]:
        found: list[Loudness | None] = []
        for chunk in self._chunks:
            if self._stopped:
                break
            # A file whose sound cannot be read has no quiet moments.
            with suppress(DecodeError):
                found.append(read_loudness(chunk, is_stopped=self._has_read))
                continue
            found.append(None)
        return found

    def _has_read(self) -> bool:
        """Count a block that was read; True if no other is wanted."""
        self._num_blocks += 1
        return self._stopped

    def _write(self, found: Sequence[Loudness | None]) -> None:
        arrays: dict[str, Any] = {}
        for number, one in enumerate(found):
            if one is not None:
                arrays[f"times{number}"] = one.times
                arrays[f"levels{number}"] = one.levels.astype(np.float32)
        self._kept.write(arrays)

    def _read(self) -> list[Loudness | None] | None:
        """Loudness that is kept; None if there is none, or that of another recording."""
        kept = self._kept.read()
        if kept is None:
            return None
        return [
            Loudness(kept[f"times{number}"], kept[f"levels{number}"].astype(np.float64))
            if f"times{number}" in kept
            else None
            for number in range(len(self._chunks))
        ]


class KeptShots:
    """Differences between frames, measured while a recording is scored, and kept beside the scores.

    It is kept on closing too, so that a stopped command goes on with it. Close it, or use it with
    `contextlib.closing`.

    Args:
        out: the reel, beside which the file lies.
        fingerprint: the recording, as plain values.
    """

    def __init__(self, out: Path, fingerprint: dict[str, Any]) -> None:
        self._kept = _KeptArrays(out.with_suffix(".shots.npz"), fingerprint, ("recording", "clock"))
        self._new: list[FrameDifferences] = []

    def add(self, differences: FrameDifferences) -> None:
        """Add differences of frames, in seconds of the recording."""
        if len(differences.times):
            self._new.append(differences)

    def get(self) -> FrameDifferences:
        """Return all differences that are known, and keep those that are new.

        Raises:
            WriteError: if they cannot be kept.
        """
        kept = self._kept.read()
        before = NO_DIFFERENCES if kept is None else FrameDifferences(kept["times"], kept["values"])
        if not self._new:
            return before
        found = join_differences([before, *self._new])
        self._kept.write({"times": found.times, "values": found.values})
        self._new = []
        return found

    def close(self) -> None:
        """Keep what is new."""
        if self._new:
            self.get()


class _KeptArrays:
    """File of arrays that were made of a recording.

    Args:
        path: the file.
        fingerprint: all that scores depend on, as plain values.
        names: names of those values on which the arrays depend.
    """

    def __init__(self, path: Path, fingerprint: dict[str, Any], names: Sequence[str]) -> None:
        self.path = path
        self._fingerprint = json.dumps({name: fingerprint.get(name) for name in names})

    def write(self, arrays: dict[str, Any]) -> None:
        """Write arrays by their names.

        Raises:
            WriteError: if they cannot be written.
        """
        content = io.BytesIO()
        np.savez_compressed(content, fingerprint=self._fingerprint, **arrays)
        write_atomically(self.path, content.getvalue())

    def read(self) -> dict[str, NDArray] | None:
        """Read the arrays; None if there are none, or those of another recording."""
        try:
            with np.load(self.path, allow_pickle=False) as kept:
                if str(kept["fingerprint"]) != self._fingerprint:
                    return None
                return dict(kept)
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None
