"""CMX 3600 edit decision lists."""

from __future__ import annotations

from collections.abc import Sequence

from experiments.highlights.cut_lists.cuts import Cut, Media, cuts_of, printable
from experiments.highlights.cut_lists.timecode import Counter, can_drop
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
    """The reel as an EDL: source times from 0 in each file, record times from one hour.

    The format holds neither paths nor line breaks: a file is named in the comment FROM CLIP
    NAME, by which editing programs find it, with '_' for what is not printable.

    Args:
        segments: sorted, in seconds of the whole recording.
        recording: its files, which follow each other.
        title: of the reel.
        drop_frame: whether timecode drops numbers; by default where it can, at 29.97 and 59.94.

    Raises:
        ValueError: if there are more than 999 cuts or 99 frames a second, or the rate cannot
            drop.
    """
    cuts = cuts_of(segments, recording)
    rate = recording[0].rate
    counter = Counter(rate, can_drop(rate) if drop_frame is None else drop_frame)
    if len(cuts) > MOST_EVENTS or counter.base > 99:
        raise ValueError(
            f"An EDL holds up to {MOST_EVENTS} cuts of up to 99 frames a second. Received "
            f"{len(cuts)} of {counter.base}; write FCPXML or OTIO, or give --top."
        )
    mode = "DROP FRAME" if counter.drop else "NON-DROP FRAME"
    lines = [f"TITLE: {printable(title)[:_TITLE_LENGTH]}", f"FCM: {mode}", ""]
    record = counter.frame("01:00:00;00" if counter.drop else "01:00:00:00")
    for event, cut in enumerate(cuts, 1):
        lines += _event(event, cut, record, counter)
        record += cut.num_frames
    return "\n".join(lines)


def _event(event: int, cut: Cut, record: int, counter: Counter) -> list[str]:
    frames = (cut.start, cut.stop, record, record + cut.num_frames)
    channels = "AA/V" if cut.media.has_sound else "V"
    return [
        f"{event:03d}  AX       {channels:<5} C        {' '.join(map(counter.timecode, frames))}",
        f"* FROM CLIP NAME: {printable(cut.media.path.name)}",
        f"* COMMENT: {cut.name}, score {cut.segment.score:.3f}",
        "",
    ]
