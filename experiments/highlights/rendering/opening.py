"""Open the files of a recording for a command, and report what is odd about them.

A file whose timestamps begin again on the way, such as two streams joined byte by byte, is copied
into a private folder with one clock, without encoding it again. Everything then reads the copy, so
that scores, sound, changes of shot and the reel agree on the time of each frame.
"""

from __future__ import annotations

import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
from av.container import Flags, OutputContainer
from av.packet import Packet
from av.stream import Stream

from common import formatting
from common.files import is_disk_full, not_written
from experiments.highlights.cut_lists.cuts import start_of
from experiments.media.chunk_files import begins_at, other_parts, was_split
from experiments.media.ffmpeg import RenderError, private_folder
from experiments.media.recording import (
    Chunk,
    check_track,
    describe_tracks,
    in_order,
    read_chunk,
)
from preprocess.errors import DecodeError
from preprocess.video.video_file import (
    LONGEST_GAP_SECONDS,
    RESTART_SECONDS,
    PacketClock,
    audio_tracks,
    clock_restarts,
    find_video_stream,
    holds_no_dts,
    open_container,
)

_NOTICED_PAUSE_SECONDS = 5.0  # between two files, by their names, that the user is told of
_LONGEST_SEAM_SECONDS = 60  # of sound that is kept in memory until its frames come
_SOUND_AHEAD_SECONDS = Fraction(1, 2)  # of the frames; sound that is farther ahead waits
_MAX_REORDERED = 32  # frames; H.264 and HEVC allow 16
_MIN_REPORTED_SECONDS = 1.0  # of sound left out that is reported; at a seam some packets always are
_ROOM = 1.05  # free space that a copy needs, by the size of its file


@contextmanager
def opened_recording(
    files: Sequence[Path],
    *,
    beside: Path,
    sound_track: int = 0,
    say: Callable[[str], None] = print,
    leave_out: Callable[[Exception], None] | None = None,
) -> Iterator[tuple[Chunk, ...]]:
    """Open a recording; copies that it needs are removed on leaving.

    Args:
        files: files of the recording in order; see `recording_files`.
        beside: a file in whose folder copies may lie meanwhile.
        sound_track: number of the audio stream to take, from 0.
        say: called with lines about what was found.
        leave_out: called with the error of a file that cannot be read and is left out; None
            raises the error.

    Raises:
        RenderError: if a file cannot be read, or there is no room for a copy.
        InputError: if no file is left.
    """
    with ExitStack() as stack:
        chunks: list[Chunk] = []
        folder: Path | None = None
        for file in files:
            try:
                check_track(file, sound_track)
                restarts = _restarts(file)
                if restarts and folder is None:
                    private = private_folder(beside.absolute().parent, prefix=".recording-")
                    folder = stack.enter_context(private)
                if restarts and folder is not None:
                    copy = folder / f"{len(chunks)}.mkv"
                    copy_with_one_clock(file, copy, say)
                    chunk = read_chunk(copy, sound_track=sound_track)
                    chunks.append(replace(chunk, path=file, copy=copy))
                else:
                    chunks.append(read_chunk(file, sound_track=sound_track))
            except RenderError as error:
                if leave_out is None:
                    raise
                leave_out(error)
        recording = in_order(chunks)
        for line in notices(recording):
            say(line)
        yield recording


def copy_with_one_clock(
    file: Path, copy: Path, say: Callable[[str], None] = lambda line: None
) -> None:
    """Copy a file's video and sound into Matroska, with timestamps that never restart.

    Raises:
        RenderError: if there is no room for the copy, or it cannot be made.
    """
    num_bytes = file.stat().st_size
    say(
        f"{file}: its timestamps begin again on the way, as in files joined byte by byte or after "
        f"a reconnect. A copy with one clock, {num_bytes / 2**20:,.0f} MiB, is read in its place."
    )
    try:
        # Before the copy, which may be of gigabytes and take minutes.
        free = shutil.disk_usage(copy.parent).free
    except OSError as error:
        raise RenderError(not_written(copy, error.strerror or error)) from error
    if free < _ROOM * num_bytes:
        raise RenderError(
            f"A copy of {file} needs {num_bytes / 2**20:,.0f} MiB in {copy.parent.parent}, where "
            f"{free / 2**20:,.0f} MiB are free. Make room, or give an --out on another disk."
        )
    try:
        left_out = _remux(file, copy)
    except (av.error.FFmpegError, DecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        if is_disk_full(error):
            raise RenderError(f"{not_written(copy, reason)} Make room, and try again.") from error
        raise RenderError(
            f"{file} begins its timestamps again, and could not be copied with one clock: "
            f"{reason}. Convert it first, as with: ffmpeg -i FILE -c:v libx264 -c:a aac OUT.mp4"
        ) from error
    if left_out >= _MIN_REPORTED_SECONDS:
        say(
            f"{file}: {left_out:.1f} s of sound belong to no picture by their timestamps. They "
            "are left out."
        )


def _remux(file: Path, copy: Path) -> float:
    """Copy packets, and add to each the time that had passed before its clock began again.

    The clock of the frames counts: a part that begins again is joined where the last frame ends.
    Sound keeps its distance from the frames of its own part, although at the seam the two streams
    come to the new clock at different places of the file. Where the sound's clock alone begins
    again, it is joined where the sound before ends, as a player would.

    Returns:
        Seconds of sound that were left out; of several tracks, the most.
    """
    with open_container(file) as source, av.open(str(copy), "w", format="matroska") as target:
        # FFmpeg computes times of presentation that a file lacks.
        source.flags |= Flags.gen_pts.value  # type: ignore[operator]  # PyAV's stub is wrong
        video = find_video_stream(source)
        # The start timecode alone is taken over: the cut lists count from it.
        for name, value in {**video.metadata, **source.metadata}.items():
            if name.lower() == "timecode":
                target.metadata["timecode"] = value
        video_copy = _Copied(PacketClock(source, video), target, video)
        tracks = {
            stream.index: _CopiedSound(PacketClock(source, stream), target, stream, video_copy)
            for stream in source.streams.audio
        }
        packets = source.demux([video, *source.streams.audio])
        for packet in _timed(packets, video.index) if holds_no_dts(source) else packets:
            if packet.dts is None:
                continue
            if packet.stream_index in tracks:
                tracks[packet.stream_index].take(packet)
                continue
            before = video_copy.clock.seconds
            if video_copy.clock.begins_again(packet):
                video_copy.join(packet)
                for track in tracks.values():
                    track.follow(before)
            video_copy.write(packet)
            for track in tracks.values():
                track.write_what_is_due()
        for track in tracks.values():
            track.finish()
        return float(max((track.left_out for track in tracks.values()), default=0))


def _timed(packets: Iterable[Packet], video: int) -> Iterator[Packet]:
    """Give packets of a format that holds only presentation times their decoding times.

    The decoding times that FFmpeg makes up are missing at the beginning, and wrong behind a seam.
    A frame is decoded before any that follows it is shown; Matroska keeps no more than that order.
    """
    held: deque[Packet] = deque()
    for packet in packets:
        if packet.pts is None:
            continue
        if packet.stream_index != video:
            packet.dts = packet.pts
            yield packet
            continue
        # A seam: frames of the new clock must not be sorted among those of the old.
        if held and abs(_shown(packet) - _shown(held[-1])) > RESTART_SECONDS:
            yield from _in_order(held, 0)
        held.append(packet)
        yield from _in_order(held, _MAX_REORDERED)
    yield from _in_order(held, 0)


def _in_order(held: deque[Packet], num_kept: int) -> Iterator[Packet]:
    while len(held) > num_kept:
        # The first frame that is still to be shown has this time, so this packet is decoded by
        # then.
        earliest = min(packet.pts for packet in held if packet.pts is not None)
        packet = held.popleft()
        packet.dts = earliest
        yield packet


def _shown(packet: Packet) -> Fraction:
    assert packet.pts is not None
    return packet.pts * packet.time_base


class _Copied:
    """One stream that is copied, with its offset between the two clocks."""

    def __init__(self, clock: PacketClock, target: OutputContainer, stream: Stream) -> None:
        self.clock = clock
        """Clock of the stream in the file."""
        self.offset = Fraction(0)
        """Seconds to be added to the file's clock for that of the copy."""
        self.end = Fraction(0)
        """End of the packets written so far, in seconds of the copy."""
        self.left_out = Fraction(0)
        """Seconds of the stream that were not written."""
        self._target = target
        self._stream = target.add_stream_from_template(stream)
        self._written: int | None = None

    def join(self, packet: Packet) -> None:
        """Set the offset so that a packet begins where the one before ends."""
        self.offset = self.end - _seconds(packet)

    def write(self, packet: Packet) -> None:
        """Write a packet, or leave it out if it lies before what is written already."""
        assert packet.dts is not None
        tick = packet.time_base
        shift = round(self.offset / tick)
        packet.dts += shift
        packet.pts = packet.dts if packet.pts is None else packet.pts + shift
        if abs(packet.pts - packet.dts) * tick > LONGEST_GAP_SECONDS:
            # FFmpeg made it up from the next packet's, which has the new clock.
            packet.pts = packet.dts + (packet.duration or 0)
        # A container takes packets only in ascending order of decoding.
        if self._written is None or packet.dts >= self._written:
            before = packet.dts - 1 if self._written is None else self._written
            lasts = packet.duration or packet.dts - before  # some streams do not say
            self._written = packet.dts
            # Parts are joined by the times that the format has, for those the clock tells apart.
            stamp = packet.pts if self.clock.by_pts else packet.dts
            self.end = max(self.end, (stamp + lasts) * tick)
            packet.stream = self._stream
            self._target.mux(packet)
        else:
            self.leave_out(packet)

    def leave_out(self, packet: Packet) -> None:
        """Add the length of a packet that is not written to `left_out`."""
        self.left_out += (packet.duration or 0) * packet.time_base


def _seconds(packet: Packet) -> Fraction:
    """Decoding time of a packet, in seconds of the file's clock."""
    assert packet.dts is not None
    return packet.dts * packet.time_base


class _CopiedSound(_Copied):
    """One sound stream that is copied; its packets wait until their frames are written."""

    def __init__(
        self, clock: PacketClock, target: OutputContainer, stream: Stream, video_copy: _Copied
    ) -> None:
        super().__init__(clock, target, stream)
        self._video_copy = video_copy
        self._waiting: deque[Packet] = deque()
        self._is_lost = False  # whether its clock began again and that of the frames did not yet

    def take(self, packet: Packet) -> None:
        """Write a packet, or keep it until its frames are written."""
        if self.clock.begins_again(packet):
            self._write_all()
            self._is_lost = not self.clock.came_to(self._video_copy.clock)
            if not self._is_lost:
                self.offset = self._video_copy.offset
        self._waiting.append(packet)
        self.write_what_is_due()

    def follow(self, before: Fraction | None) -> None:
        """Take over the new offset of the frames if the current sound belongs to it.

        Args:
            before: last time of the frames' clock before it began again, in seconds.
        """
        heard, shown = self.clock.seconds, self._video_copy.clock.seconds
        if heard is None or shown is None or before is None:
            return
        if self._is_lost:
            is_near = abs(heard - shown) <= LONGEST_GAP_SECONDS
        else:
            # Sound that lags behind still has the old clock, and is then nearer to the frames
            # before the seam.
            is_near = abs(heard - shown) < abs(heard - before)
        if is_near:
            self.offset, self._is_lost = self._video_copy.offset, False

    def write_what_is_due(self) -> None:
        """Write sound up to a little after the end of the last frame written."""
        if self._is_lost:
            # No frames of that clock came, so the sound goes on by itself; memory is bounded too.
            if self._waited() > _LONGEST_SEAM_SECONDS:
                self._write_all()
            return
        while self._waiting and self._is_due(self._waiting[0]):
            self.write(self._waiting.popleft())
        while self._waited() > _LONGEST_SEAM_SECONDS:
            self.leave_out(self._waiting.popleft())

    def finish(self) -> None:
        """Write the sound after the last frame."""
        self._write_all()

    def _is_due(self, packet: Packet) -> bool:
        return _seconds(packet) + self.offset <= self._video_copy.end + _SOUND_AHEAD_SECONDS

    def _waited(self) -> Fraction:
        if not self._waiting or self.clock.seconds is None:
            return Fraction(0)
        return self.clock.seconds - _seconds(self._waiting[0])

    def _write_all(self) -> None:
        if self._is_lost and self._waiting:
            self.join(self._waiting[0])
            self._is_lost = False
        while self._waiting:
            self.write(self._waiting.popleft())


def notices(chunks: Sequence[Chunk]) -> Iterator[str]:
    """Yield what the user may want to know of a recording before the work begins."""
    if len(chunks) > 1 and was_split(chunks[0].path):
        first, last = chunks[0].path.name, chunks[-1].path.name
        yield f"{len(chunks)} files, {first} to {last}, are one recording."
    elif len(chunks) == 1:
        others = other_parts(chunks[0].path, chunks[0].duration)
        if others:
            names = ", ".join(path.name for path in others)
            yield (
                f"{chunks[0].path} seems to be one part of a recording; others are {names}. To "
                "have them as one, name all, in order."
            )
    for before, chunk in pairwise(chunks):
        this, following = begins_at(before.path), begins_at(chunk.path)
        if this and following:
            pause = (following - this).total_seconds() - before.duration
            if pause > _NOTICED_PAUSE_SECONDS:
                yield (
                    f"By their names, {formatting.duration(pause)} lie between the end of "
                    f"{before.path.name} and {chunk.path.name}; they count as if there were none."
                )
    yield from _sound_notices(chunks)
    for chunk in chunks:
        if chunk.timecode and start_of(chunk) is None:
            yield (
                f"{chunk.path}: its start timecode {chunk.timecode!r} is none at "
                f"{float(chunk.rate):.3f} frames per second; cut lists count from 0."
            )


def _sound_notices(chunks: Sequence[Chunk]) -> Iterator[str]:
    """Yield one notice for each combination of several sound tracks."""
    reported = set()
    for chunk in chunks:
        tracks = audio_tracks(chunk.file)
        listed = describe_tracks(tracks)
        if len(tracks) > 1 and listed not in reported:
            reported.add(listed)
            yield (
                f"{chunk.path} has {listed}. Track {chunk.track} is taken; --sound-track takes "
                "another."
            )


def _restarts(file: Path) -> bool:
    """Return whether the timestamps of a file begin again.

    False for a file that cannot be read; reading it later says why.
    """
    try:
        return clock_restarts(file)
    except DecodeError:
        return False
