"""Final Cut Pro X XML, version 1.9."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from xml.etree import ElementTree

from experiments.highlights.cut_lists.cuts import Cut, Media, cuts_of, printable
from experiments.highlights.selection.segments import Segment

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
    """The reel as a project with one sequence, at the first file's rate.

    Times in a file are counted from its embedded start timecode, at its own rate.

    Args:
        segments: sorted, in seconds of the whole recording.
        recording: its files, which follow each other.
        title: of the reel.

    Raises:
        InputError: if there is no file.
    """
    cuts = cuts_of(segments, recording)
    root = ElementTree.Element("fcpxml", version="1.9")
    resources = ElementTree.SubElement(root, "resources")
    assets = {}
    for number, media in enumerate(recording, 1):
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
    """Frames in seconds, as a fraction: 30 at 29.97 -> '1001/1000s'."""
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
            ElementTree.SubElement(clip, "conform-rate", attrib={"scaleEnabled": "0", **named})
        offset += length


def _on_timeline(cut: Cut, rate: Fraction) -> int:
    """Frames of the sequence that a cut lasts, at least one; no more than its file holds."""
    media = cut.media
    if media.rate == rate:
        return cut.num_frames
    room = (media.num_frames - cut.start) / media.rate * rate
    return max(min(round(cut.num_frames / media.rate * rate), int(room)), 1)


def _tc_format(media: Media) -> str:
    return "DF" if media.counter.drop else "NDF"
