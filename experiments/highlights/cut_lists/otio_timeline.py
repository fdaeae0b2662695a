"""OpenTimelineIO timelines, through the package of that name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common.errors import UserError
from experiments.highlights.cut_lists.cuts import Cut, Media, cuts_of, printable
from experiments.highlights.selection.segments import Segment


def otio_text(segments: Sequence[Segment], recording: Sequence[Media], *, title: str) -> str:
    """The reel as OTIO's JSON: a track of the pictures, and one of the sound if there is any.

    Times in a file are counted from its embedded start timecode, at its own rate.

    Args:
        segments: sorted, in seconds of the whole recording.
        recording: its files, which follow each other.
        title: of the reel.

    Raises:
        InputError: if there is no file.
        ModuleNotFoundError: if the package is missing.
    """
    otio = require_otio()
    cuts = cuts_of(segments, recording)
    timeline = otio.schema.Timeline(name=printable(title))
    video = otio.schema.Track(name="V1", kind=otio.schema.TrackKind.Video)
    video.extend([_clip(otio, cut) for cut in cuts])
    timeline.tracks.append(video)
    if any(media.has_sound for media in recording):
        audio = otio.schema.Track(name="A1", kind=otio.schema.TrackKind.Audio)
        audio.extend([_clip(otio, cut) if cut.media.has_sound else _gap(otio, cut) for cut in cuts])
        timeline.tracks.append(audio)
    return otio.adapters.write_to_string(timeline, "otio_json") + "\n"


def require_otio() -> Any:
    """The package opentimelineio.

    Raises:
        ModuleNotFoundError: if it is missing; the message says how to get it.
    """
    try:
        import opentimelineio
    except ModuleNotFoundError as error:
        raise UserError(
            "An OTIO cut list needs the package opentimelineio: pip install opentimelineio; or "
            "write EDL or FCPXML."
        ) from error
    return opentimelineio


def _clip(otio: Any, cut: Cut) -> Any:
    media, rate = cut.media, float(cut.media.rate)
    return otio.schema.Clip(
        name=cut.name,
        source_range=_range(otio, media.start + cut.start, cut.num_frames, rate),
        media_reference=otio.schema.ExternalReference(
            target_url=media.url, available_range=_range(otio, media.start, media.num_frames, rate)
        ),
        metadata={"highlights": {"score": cut.segment.score}},
    )


def _gap(otio: Any, cut: Cut) -> Any:
    return otio.schema.Gap(source_range=_range(otio, 0, cut.num_frames, float(cut.media.rate)))


def _range(otio: Any, start: int, num_frames: int, rate: float) -> Any:
    time = otio.opentime.RationalTime
    return otio.opentime.TimeRange(time(start, rate), time(num_frames, rate))
