"""Official train and test lists of UCF101 (folder `ucfTrainTestlist`)."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from preprocess.errors import PreprocessError
from preprocess.sources.catalog import ClipName, official_spelling, parse_clip_name

NUMBERS = (1, 2, 3)
_NAMED = 5  # number of clips that a message names


@dataclass(frozen=True)
class OfficialSplit:
    """Clips of one pair of official lists.

    Args:
        number: number of the pair, 1 to 3.
        train: clips of the train list, in its order.
        test: clips of the test list, in its order.
    """

    number: int
    train: tuple[ClipName, ...]
    test: tuple[ClipName, ...]

    def of_classes(self, class_names: Collection[str]) -> OfficialSplit:
        """Keep the clips of some classes only."""
        train, test = (
            tuple(clip for clip in clips if clip.class_name in class_names)
            for clips in (self.train, self.test)
        )
        return OfficialSplit(self.number, train, test)


@dataclass(frozen=True)
class ListedClips:
    """Existing clips in the parts of an official split.

    Args:
        train: positions of those in the train list, ascending.
        test: positions of those in the test list, ascending.
        missing: listed clips that do not exist here, in the order of the lists.
        unlisted: sources in neither list, which are in no part.
    """

    train: NDArray[np.int64]
    test: NDArray[np.int64]
    missing: tuple[str, ...]
    unlisted: tuple[str, ...]

    def __str__(self) -> str:
        """Sentence with the number of clips of each part, and the missing and unlisted clips."""
        counts = f"{len(self.train)} clips to train on, {len(self.test)} to test"
        missing = f"{len(self.missing)} listed clips are not here{_some(self.missing)}"
        unlisted = f"{len(self.unlisted)} clips here are not listed{_some(self.unlisted)}"
        return "; ".join([counts, missing, unlisted])


def read_official_split(folder: str | os.PathLike[str], number: int) -> OfficialSplit:
    """Read `classInd.txt`, `trainlist0N.txt` and `testlist0N.txt`.

    A line is `37 HandstandPushups` in the first, `Class/v_Class_g08_c01.avi 37` in the second
    and the same without the number in the third. Empty lines are ignored. File names may spell a
    class in another way, such as `HandStandPushups`; a class may have spaces in its name.

    Args:
        folder: folder of the lists, usually called ucfTrainTestlist.
        number: number of the pair of lists, 1 to 3.

    Raises:
        PreprocessError: if a file is missing, a line is not understood or contradicts another,
            or a clip is listed twice. The message names file and line.
    """
    if number not in NUMBERS:
        raise PreprocessError(f"The official splits are 1, 2 and 3. Received {number}.")
    folder = Path(folder)
    labels = _read_labels(folder / "classInd.txt")
    # One dictionary for both lists, so that a clip in both is found.
    lines: dict[ClipName, str] = {}
    train = _read_list(folder / f"trainlist{number:02d}.txt", labels, lines, numbered=True)
    test = _read_list(folder / f"testlist{number:02d}.txt", labels, lines, numbered=False)
    return OfficialSplit(number, train, test)


def join_clips(official: OfficialSplit, sources: Sequence[str]) -> ListedClips:
    """Find the listed clips among existing ones, whatever their suffix and folder.

    Args:
        official: the lists.
        sources: sources of the existing clips; their last part is the clip's name.

    Raises:
        PreprocessError: if no clip of a list exists, or a listed clip exists twice.
    """
    # By the clip's name alone: users convert files and rearrange folders.
    names = [parse_clip_name(PurePosixPath(source).name) for source in sources]
    both = (*official.train, *official.test)
    positions = _positions(set(both), names, sources)
    unlisted = (
        source for source, name in zip(sources, names, strict=True) if name not in positions
    )
    return ListedClips(
        train=_subset("train", official.train, positions, sources),
        test=_subset("test", official.test, positions, sources),
        missing=tuple(str(clip) for clip in both if clip not in positions),
        unlisted=tuple(unlisted),
    )


def _positions(
    listed: set[ClipName], names: Sequence[ClipName | None], sources: Sequence[str]
) -> dict[ClipName, int]:
    """Position of each listed clip among the existing ones."""
    positions: dict[ClipName, int] = {}
    for position, name in enumerate(names):
        if name is None or name not in listed:
            continue
        first = positions.setdefault(name, position)
        if first != position:
            both = f"{sources[first]} and {sources[position]}"
            raise PreprocessError(f"{name} is here twice: {both}. Remove one.")
    return positions


def _subset(
    name: str, clips: Sequence[ClipName], positions: dict[ClipName, int], sources: Sequence[str]
) -> NDArray[np.int64]:
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
    """First few names in brackets, for a message."""
    more = ", ..." if len(names) > _NAMED else ""
    return f" ({', '.join(names[:_NAMED])}{more})" if names else ""


def _read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield place (for messages) and text of each line that is not empty."""
    try:
        # utf-8-sig: editors on Windows put a byte order mark at the beginning.
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
    """Read the number of each class, in digits."""
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
    """Read the clips of one list, and add the place of each to `lines`."""
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
    """Parse the clip of one line and check it against the classes."""
    # Folder, file name and number name the class three times; a contradiction is an error of the
    # lists, which would otherwise show as a wrong label.
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
