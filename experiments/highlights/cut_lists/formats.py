"""Cut lists as CMX 3600 EDL, Final Cut Pro X XML 1.9 and OpenTimelineIO."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any
from xml.etree import ElementTree

from common.errors import InputError
from common.extras import import_extra
from experiments.highlights.cut_lists.cuts import Counter, Cut, Media, cuts_of, printable
from experiments.highlights.selection.selection import Segment

MAX_EVENTS = 999  # an event's number has three digits in CMX 3600
_TITLE_LENGTH = 70  # characters of the format's title line


def edl_text(
    segments: Sequence[Segment],
    recording: Sequence[Media],
    *,
    title: str,
    drop_frame: bool | None = None,
) -> str:
    """Make an EDL: source times by each file's timecode, record times from one hour.

    A file without an embedded start timecode is counted from 0.

    The format holds neither paths nor line breaks: a file is named in the comment FROM CLIP
    NAME, by which editing programs find it, with '_' for what is not printable.

    Args:
        segments: segments, sorted, in seconds of the whole recording.
        recording: files of the recording, one after the other.
        title: title of the reel.
        drop_frame: whether timecode drops numbers in files without a timecode; by default at the
            rates that allow it, 29.97 and 59.94.

    Raises:
        InputError: if there are more than 999 cuts or 99 frames a second, the files have different
            frame rates, or the rate cannot drop.
    """
    check_edl(recording)
    if drop_frame is not None:
        recording = [
            replace(one, drop=drop_frame) if one.drop is None else one for one in recording
        ]
    cuts = cuts_of(segments, recording)
    counter = recording[0].counter
    if len(cuts) > MAX_EVENTS:
        raise InputError(
            f"An EDL holds up to {MAX_EVENTS} cuts. Received {len(cuts)}; write FCPXML or OTIO, "
            "or give --top."
        )
    mode = "DROP FRAME" if counter.drop else "NON-DROP FRAME"
    lines = [f"TITLE: {printable(title)[:_TITLE_LENGTH]}", f"FCM: {mode}", ""]
    # By custom a programme's record times begin at one hour.
    record = counter.frame("01:00:00;00" if counter.drop else "01:00:00:00")
    for event, cut in enumerate(cuts, 1):
        lines += _event(event, cut, record, counter)
        record += cut.num_frames
    return "\n".join(lines)


def check_edl(recording: Sequence[Media]) -> None:
    """Check that cuts of a recording can be written as an EDL.

    Raises:
        InputError: if they cannot.
    """
    rates = sorted({media.rate for media in recording})
    if len(rates) > 1:
        raise InputError(
            "An EDL counts all files at one frame rate. Received files of "
            f"{' and '.join(f'{float(rate):.3f}' for rate in rates)} frames per second; write "
            "FCPXML or OTIO."
        )
    if rates and Counter(rates[0], drop=False).base > 99:
        raise InputError(
            f"An EDL holds up to 99 frames per second. Received {float(rates[0]):.3f}; write "
            "FCPXML or OTIO."
        )


def _event(event: int, cut: Cut, record: int, counter: Counter) -> list[str]:
    media = cut.media
    source = [media.counter.timecode(media.start + frame) for frame in (cut.start, cut.stop)]
    placed = [counter.timecode(frame) for frame in (record, record + cut.num_frames)]
    # Stereo sound with the picture, or the picture alone; C is a hard cut, AX a source without a
    # tape.
    channels = "AA/V" if media.has_sound else "V"
    return [
        f"{event:03d}  AX       {channels:<5} C        {' '.join([*source, *placed])}",
        f"* FROM CLIP NAME: {printable(media.path.name)}",
        f"* COMMENT: {cut.name}, score {cut.segment.score:.3f}",
        "",
    ]


_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n'
# What the format calls the rates of clips that a sequence of another rate holds.
_SOURCE_RATES = {
    Fraction(24000, 1001): "23.98",
    Fraction(24): "24",
    Fraction(25): "25",
    Fraction(30000, 1001): "29.97",
    Fraction(30): "30",
    Fraction(48000, 1001): "47.95",
    Fraction(48): "48",
    Fraction(50): "50",
    Fraction(60000, 1001): "59.94",
    Fraction(60): "60",
}


def fcpxml_text(segments: Sequence[Segment], recording: Sequence[Media], *, title: str) -> str:
    """Make a Final Cut Pro project with one sequence, at the first file's rate.

    Times in a file are counted from its embedded start timecode, at its own rate. Segments,
    recording and title are those of `edl_text`.

    Raises:
        InputError: if there is no file.
    """
    cuts = cuts_of(segments, recording)
    root = ElementTree.Element("fcpxml", version="1.9")
    resources = ElementTree.SubElement(root, "resources")
    assets = {}
    for number, media in enumerate(recording, 1):
        # A format for each file, as files may differ in rate and size.
        _add_format(resources, f"format{number}", media)
        _add_asset(resources, number, media)
        assets[media] = f"asset{number}"
    library = ElementTree.SubElement(root, "library")
    event = ElementTree.SubElement(library, "event", name=printable(title))
    project = ElementTree.SubElement(event, "project", name=printable(title))
    _add_sequence(project, cuts, assets, recording[0])
    ElementTree.indent(root)
    return f"{_HEAD}{ElementTree.tostring(root, encoding='unicode')}\n"


def _time(frames: int, rate: Fraction) -> str:
    """Format frames as seconds in a fraction: 30 at 29.97 -> '1001/1000s'."""
    seconds = frames / rate
    if seconds.denominator == 1:
        return f"{seconds.numerator}s"
    return f"{seconds.numerator}/{seconds.denominator}s"


def _add_format(resources: ElementTree.Element, name: str, media: Media) -> None:
    shape = {}
    if media.width and media.height:
        shape = {"width": str(media.width), "height": str(media.height)}
    ElementTree.SubElement(
        resources, "format", id=name, frameDuration=_time(1, media.rate), attrib=shape
    )


def _add_asset(resources: ElementTree.Element, number: int, media: Media) -> None:
    sound = {"hasAudio": "1", "audioSources": "1"} if media.has_sound else {}
    asset = ElementTree.SubElement(
        resources,
        "asset",
        attrib={
            "id": f"asset{number}",
            "name": printable(media.path.name),
            "start": _time(media.start, media.rate),
            "duration": _time(media.num_frames, media.rate),
            "hasVideo": "1",
            "format": f"format{number}",
            **sound,
        },
    )
    ElementTree.SubElement(asset, "media-rep", kind="original-media", src=media.url)


def _add_sequence(
    project: ElementTree.Element, cuts: Sequence[Cut], assets: dict[Media, str], first: Media
) -> None:
    rate, tc_format = first.rate, _tc_format(first)
    lengths = [_on_timeline(cut, rate) for cut in cuts]
    sequence = ElementTree.SubElement(
        project,
        "sequence",
        format="format1",
        duration=_time(sum(lengths), rate),
        tcStart="0s",
        tcFormat=tc_format,
    )
    spine = ElementTree.SubElement(sequence, "spine")
    offset = 0
    for cut, length in zip(cuts, lengths, strict=True):
        media = cut.media
        clip = ElementTree.SubElement(
            spine,
            "asset-clip",
            ref=assets[media],
            name=cut.name,
            offset=_time(offset, rate),
            start=_time(media.start + cut.start, media.rate),
            duration=_time(length, rate),
            tcFormat=_tc_format(media),
        )
        if media.rate != rate:
            source_rate = _SOURCE_RATES.get(media.rate)
            named = {} if source_rate is None else {"srcFrameRate": source_rate}
            # With `scaleEnabled` 0 the clip keeps its speed.
            ElementTree.SubElement(clip, "conform-rate", attrib={"scaleEnabled": "0", **named})
        offset += length


def _on_timeline(cut: Cut, rate: Fraction) -> int:
    """Length of a cut in frames of the sequence: at least one, and no more than its file holds."""
    media = cut.media
    if media.rate == rate:
        return cut.num_frames
    # Rounding up must not ask for a frame behind the end of the file.
    room = (media.num_frames - cut.start) / media.rate * rate
    return max(min(round(cut.num_frames / media.rate * rate), int(room)), 1)


def _tc_format(media: Media) -> str:
    return "DF" if media.counter.drop else "NDF"


def otio_text(segments: Sequence[Segment], recording: Sequence[Media], *, title: str) -> str:
    """Make OpenTimelineIO's JSON: a video track, and an audio track if there is any sound.

    Times in a file are counted from its embedded start timecode, at its own rate. Segments,
    recording and title are those of `edl_text`.

    Raises:
        InputError: if there is no file.
        MissingExtraError: if the package is missing.
    """
    otio = import_extra("opentimelineio")
    cuts = cuts_of(segments, recording)
    timeline = otio.schema.Timeline(name=printable(title))
    video = otio.schema.Track(name="V1", kind=otio.schema.TrackKind.Video)
    video.extend([_clip(otio, cut) for cut in cuts])
    timeline.tracks.append(video)
    if any(media.has_sound for media in recording):
        audio = otio.schema.Track(name="A1", kind=otio.schema.TrackKind.Audio)
        # A silent file leaves a gap, so that the sound after it stays in step.
        audio.extend([_clip(otio, cut) if cut.media.has_sound else _gap(otio, cut) for cut in cuts])
        timeline.tracks.append(audio)
    return otio.adapters.write_to_string(timeline, "otio_json") + "\n"


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
