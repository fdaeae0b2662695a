"""The official train and test lists of UCF101 (folder `ucfTrainTestlist`), to the clip."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from preprocess.errors import PreprocessError
from preprocess.sources.catalog import ClipName, official_spelling, parse_clip_name
from preprocess.sources.splits import Indices

NUMBERS = (1, 2, 3)
_NAMED = 5  # clips that a message names; the lists of names hold all


@dataclass(frozen=True)
class OfficialSplit:
    """What one pair of official lists says.

    Args:
        number: of the pair, 1 to 3.
        train: clips of the train list, in its order.
        test: clips of the test list, in its order.
    """

    number: int
    train: tuple[ClipName, ...]
    test: tuple[ClipName, ...]

    def of_classes(self, class_names: Collection[str]) -> OfficialSplit:
        """The same lists, of the clips of some classes only."""
        train, test = (
            tuple(clip for clip in clips if clip.class_name in class_names)
            for clips in (self.train, self.test)
        )
        return OfficialSplit(self.number, train, test)


@dataclass(frozen=True)
class ListedClips:
    """The clips at hand as an official split parts them.

    Args:
        train: positions of those in the train list, ascending.
        test: positions of those in the test list, ascending.
        missing: listed clips that are not at hand, in the order of the lists.
        unlisted: sources that are in neither list: they are in no part.
    """

    train: Indices
    test: Indices
    missing: tuple[str, ...]
    unlisted: tuple[str, ...]

    def __str__(self) -> str:
        """In words: how many clips are in each part, and which are missing or left over."""
        counts = f"{len(self.train)} clips to train on, {len(self.test)} to test"
        missing = f"{len(self.missing)} listed clips are not here{_some(self.missing)}"
        unlisted = f"{len(self.unlisted)} clips here are not listed{_some(self.unlisted)}"
        return "; ".join([counts, missing, unlisted])


def read_official_split(folder: str | os.PathLike[str], number: int) -> OfficialSplit:
    """Read `classInd.txt`, `trainlist0N.txt` and `testlist0N.txt`.

    A line is `37 HandstandPushups` in the first, `Class/v_Class_g08_c01.avi 37` in the second
    and the same without the number in the third. Empty lines are passed over. File names may
    spell a class in another way, as `HandStandPushups`; a class may have spaces in its name.

    Args:
        folder: of the lists, usually called ucfTrainTestlist.
        number: of the pair of lists, 1 to 3.

    Raises:
        PreprocessError: if a file is missing, a line is not understood or contradicts another,
            or a clip is listed twice. The message names file and line.
    """
    if number not in NUMBERS:
        raise PreprocessError(f"The official splits are 1, 2 and 3. Received {number}.")
    folder = Path(folder)
    labels = _read_labels(folder / "classInd.txt")
    lines: dict[ClipName, str] = {}
    train = _read_list(folder / f"trainlist{number:02d}.txt", labels, lines, numbered=True)
    test = _read_list(folder / f"testlist{number:02d}.txt", labels, lines, numbered=False)
    return OfficialSplit(number, train, test)


def join_clips(official: OfficialSplit, sources: Sequence[str]) -> ListedClips:
    """Find the listed clips among those at hand, whatever their suffix and folder.

    Args:
        official: the lists.
        sources: of the clips at hand; their last part is the clip's name.

    Raises:
        PreprocessError: if a list has no clip here, or a listed clip is here twice.
    """
    names = [parse_clip_name(PurePosixPath(source).name) for source in sources]
    both = (*official.train, *official.test)
    positions = _positions(set(both), names, sources)
    unlisted = (
        source for source, name in zip(sources, names, strict=True) if name not in positions
    )
    return ListedClips(
        train=_part("train", official.train, positions, sources),
        test=_part("test", official.test, positions, sources),
        missing=tuple(str(clip) for clip in both if clip not in positions),
        unlisted=tuple(unlisted),
    )


def _positions(
    listed: set[ClipName], names: Sequence[ClipName | None], sources: Sequence[str]
) -> dict[ClipName, int]:
    """Where each listed clip is among those at hand."""
    positions: dict[ClipName, int] = {}
    for position, name in enumerate(names):
        if name is None or name not in listed:
            continue
        first = positions.setdefault(name, position)
        if first != position:
            both = f"{sources[first]} and {sources[position]}"
            raise PreprocessError(f"{name} is here twice: {both}. Remove one.")
    return positions


def _part(
    name: str, clips: Sequence[ClipName], positions: dict[ClipName, int], sources: Sequence[str]
) -> Indices:
    """Positions of the clips of one list, ascending."""
    if not clips:
        raise PreprocessError(
            f"The official {name} list has no clip of the classes that are asked for. Name other "
            "classes, or other lists."
        )
    found = sorted(positions[clip] for clip in clips if clip in positions)
    if not found:
        raise PreprocessError(
            f"None of the {len(clips)} clips of the official {name} list is among the "
            f"{len(sources)} clips here{_some(sources)}. Clips must be called as in the lists, "
            "v_Class_gNN_cNN."
        )
    return np.array(found, np.int64)


def _some(names: Sequence[str]) -> str:
    """The first few names, to be put behind their number."""
    more = ", ..." if len(names) > _NAMED else ""
    return f" ({', '.join(names[:_NAMED])}{more})" if names else ""


def _read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """For each line that is not empty: its place, for messages, and its text."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise PreprocessError(
            f"Cannot read {path}: {reason}. Name the folder of the official lists, such as "
            "ucfTrainTestlist; it holds classInd.txt, trainlist01.txt, testlist01.txt, ..."
        ) from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{path}, line {number}", line.strip()


def _read_labels(path: Path) -> dict[str, str]:
    """The number of each class, in digits."""
    labels: dict[str, str] = {}
    for place, line in _read_lines(path):
        label, *rest = line.split(maxsplit=1)
        if not rest or not label.isdecimal():
            raise PreprocessError(f"{place}: expected a number and a class. Received {line!r}.")
        class_name = official_spelling(rest[0])
        if label in labels.values() or class_name in labels:
            raise PreprocessError(f"{place}: {label} or {class_name} stands in a line before.")
        labels[class_name] = label
    return labels


def _read_list(
    path: Path, labels: dict[str, str], lines: dict[ClipName, str], *, numbered: bool
) -> tuple[ClipName, ...]:
    """The clips of one list; `lines`, which says where each clip is listed, grows by them."""
    clips = []
    for place, line in _read_lines(path):
        # The class, and so the path, may have spaces; a number behind it is the last word.
        source, *number = line.rsplit(maxsplit=1)
        if not number or not number[0].isdecimal():
            source, number = line, []
        if numbered and not number:
            raise PreprocessError(
                f"{place}: expected Class/v_Class_gNN_cNN.avi and the number of the class. "
                f"Received {line!r}."
            )
        clip = _parse_line(place, source, number, labels)
        if clip in lines:
            raise PreprocessError(f"{place}: {clip} is listed already in {lines[clip]}.")
        lines[clip] = place
        clips.append(clip)
    return tuple(clips)


def _parse_line(place: str, source: str, number: list[str], labels: dict[str, str]) -> ClipName:
    """The clip of one line, checked against the classes."""
    folder, _, file = source.rpartition("/")
    class_name = official_spelling(folder)
    clip = parse_clip_name(file)
    if clip is None:
        raise PreprocessError(f"{place}: expected Class/v_Class_gNN_cNN.avi. Received {source!r}.")
    if class_name not in labels:
        raise PreprocessError(f"{place}: the class {folder!r} is not in classInd.txt.")
    if clip.class_name != class_name:
        raise PreprocessError(f"{place}: {file} is no clip of its folder's class, {folder}.")
    if number not in ([], [labels[class_name]]):
        raise PreprocessError(
            f"{place}: {folder} has the number {labels[class_name]} in classInd.txt. "
            f"Received {number[0]}."
        )
    return clip
