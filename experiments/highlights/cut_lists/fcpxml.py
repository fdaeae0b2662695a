"""Final Cut Pro X XML, version 1.9."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from xml.etree import ElementTree

from experiments.highlights.cut_lists.cuts import Cut, Media, cuts_of, printable
from experiments.highlights.cut_lists.timecode import can_drop
from experiments.highlights.selection.segments import Segment

_HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE fcpxml>\n'


def fcpxml_text(segments: Sequence[Segment], recording: Sequence[Media], *, title: str) -> str:
    """The reel as a project with one sequence.

    Args:
        segments: sorted, in seconds of the whole recording.
        recording: its files, which follow each other.
        title: of the reel.

    Raises:
        ValueError: if the files have different frame rates.
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
    _add_sequence(project, cuts, assets, recording[0].rate)
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
            "start": "0s",
            "duration": _time(media.num_frames, media.rate),
            "hasVideo": "1",
            "format": f"format{number}",
            **sound,
        },
    )
    ElementTree.SubElement(asset, "media-rep", kind="original-media", src=media.url)


def _add_sequence(
    project: ElementTree.Element, cuts: Sequence[Cut], assets: dict[Media, str], rate: Fraction
) -> None:
    counting = "DF" if can_drop(rate) else "NDF"
    sequence = ElementTree.SubElement(
        project,
        "sequence",
        format="format1",
        duration=_time(sum(cut.num_frames for cut in cuts), rate),
        tcStart="0s",
        tcFormat=counting,
    )
    spine = ElementTree.SubElement(sequence, "spine")
    offset = 0
    for cut in cuts:
        ElementTree.SubElement(
            spine,
            "asset-clip",
            ref=assets[cut.media],
            name=cut.name,
            offset=_time(offset, rate),
            start=_time(cut.start, rate),
            duration=_time(cut.num_frames, rate),
            tcFormat=counting,
        )
        offset += cut.num_frames
