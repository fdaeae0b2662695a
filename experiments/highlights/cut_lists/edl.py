"""CMX 3600 edit decision lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from common.errors import InputError
from experiments.highlights.cut_lists.cuts import Cut, Media, cuts_of, printable
from experiments.highlights.cut_lists.timecode import Counter
from experiments.highlights.selection.segments import Segment

MOST_EVENTS = 999
_TITLE_LENGTH = 70


def edl_text(
    segments: Sequence[Segment],
    recording: Sequence[Media],
    *,
    title: str,
    drop_frame: bool | None = None,
) -> str:
    """The reel as an EDL: source times by each file's timecode, record times from one hour.

    A file without an embedded start timecode is counted from 0.

    The format holds neither paths nor line breaks: a file is named in the comment FROM CLIP
    NAME, by which editing programs find it, with '_' for what is not printable.

    Args:
        segments: sorted, in seconds of the whole recording.
        recording: its files, which follow each other.
        title: of the reel.
        drop_frame: whether timecode drops numbers, where no file says so; by default where it
            can, at 29.97 and 59.94.

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
    if len(cuts) > MOST_EVENTS:
        raise InputError(
            f"An EDL holds up to {MOST_EVENTS} cuts. Received {len(cuts)}; write FCPXML or OTIO, "
            "or give --top."
        )
    mode = "DROP FRAME" if counter.drop else "NON-DROP FRAME"
    lines = [f"TITLE: {printable(title)[:_TITLE_LENGTH]}", f"FCM: {mode}", ""]
    record = counter.frame("01:00:00;00" if counter.drop else "01:00:00:00")
    for event, cut in enumerate(cuts, 1):
        lines += _event(event, cut, record, counter)
        record += cut.num_frames
    return "\n".join(lines)


def check_edl(recording: Sequence[Media]) -> None:
    """Whether cuts of a recording can be written as an EDL.

    Raises:
        InputError: if not.
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
    channels = "AA/V" if media.has_sound else "V"
    return [
        f"{event:03d}  AX       {channels:<5} C        {' '.join([*source, *placed])}",
        f"* FROM CLIP NAME: {printable(media.path.name)}",
        f"* COMMENT: {cut.name}, score {cut.segment.score:.3f}",
        "",
    ]
