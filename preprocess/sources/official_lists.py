"""Official splits: lists of UCF101, HMDB51, groups of UCF50, folds of YouTube Celebrities, ...

UCF101's lists are in the folder `ucfTrainTestlist`, HMDB51's in `testTrainMulti_7030_splits`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from common.errors import did_you_mean
from preprocess.errors import PreprocessError
from preprocess.sources.catalog import (
    CELEBRITIES,
    DATASETS,
    HMDB51,
    HOLLYWOOD2,
    UCF50,
    UCF101,
    ClipName,
    official_spelling,
    parse_clip_name,
)
from preprocess.sources.clips import VIDEO_SUFFIXES

NUMBERS = (1, 2, 3)
_NAMED = 5  # number of clips that a message names
_UCF101_LISTS = (
    "Name the folder of the official lists, such as ucfTrainTestlist; it holds classInd.txt, "
    "trainlist01.txt, testlist01.txt, ..."
)
_HMDB51_LISTS = (
    "Name the folder of the official lists, such as testTrainMulti_7030_splits; it holds "
    "CLASS_test_split1.txt, ... of each class"
)
# Clips of each session of a person in a fold of YouTube Celebrities, of which one is trained on.
_CLIPS_OF_A_SESSION = 3


class FileName(NamedTuple):
    """Name of a listed clip of HMDB51, which tells no class for certain.

    Args:
        class_name: the class of its list.
        name: name of its file, without the suffix.
    """

    class_name: str
    name: str

    def __str__(self) -> str:
        return self.name


ListedName = ClipName | FileName


class Clips(Protocol):
    """Clips that are split: extracted ones, or those of a folder."""

    @property
    def dataset(self) -> str:
        """Name of their data set."""

    @property
    def class_names(self) -> Sequence[str]:
        """The classes, in label order."""

    @property
    def sources(self) -> list[str]:
        """Source of each clip."""

    @property
    def groups(self) -> list[str]:
        """Scene of each clip."""

    @property
    def labels(self) -> NDArray[np.int64]:
        """Class of each clip, (num_clips,)."""


@dataclass(frozen=True)
class OfficialSplit:
    """Clips of one pair of official lists.

    Args:
        number: number of the pair, 1 to 3.
        train: clips of the train list, in its order.
        test: clips of the test list, in its order.
        form: how its clips are called, for messages.
    """

    number: int
    train: tuple[ListedName, ...]
    test: tuple[ListedName, ...]
    form: str = "v_Class_gNN_cNN"

    def of_classes(self, class_names: Collection[str]) -> OfficialSplit:
        """Keep the clips of some classes only."""
        train, test = (
            tuple(clip for clip in clips if clip.class_name in class_names)
            for clips in (self.train, self.test)
        )
        return replace(self, train=train, test=test)


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


def read_hmdb51_split(
    folder: str | os.PathLike[str], number: int, class_names: Sequence[str] = HMDB51.class_names
) -> OfficialSplit:
    """Read `CLASS_test_splitN.txt` of each class of HMDB51.

    A line is `April_09_brush_hair_u_nm_np1_ba_goo_0.avi 1`: a clip of the class to train on (1), to
    test (2) or in neither part (0). Empty lines are ignored.

    Args:
        folder: folder of the lists, usually called testTrainMulti_7030_splits.
        number: number of the split, 1 to 3.
        class_names: classes whose lists are read.

    Raises:
        PreprocessError: if a list is missing or of no class, a line is not understood, or a clip
            is listed twice. The message names file and line.
    """
    _require_number(number, HMDB51.num_splits)
    folder, end = Path(folder), f"_test_split{number}.txt"
    for path in sorted(folder.glob(f"*{end}")):
        class_name = path.name.removesuffix(end)
        if class_name not in HMDB51.class_names:
            meant = did_you_mean(class_name, HMDB51.class_names)
            raise PreprocessError(
                f"{path}: a list must be called after one of HMDB51's {HMDB51.num_classes} "
                f"classes. Received {class_name!r}. {meant}".strip()
            )
    # By file name: a clip in two classes' lists is found as well as one in two parts.
    lines: dict[str, str] = {}
    parts: dict[str, list[FileName]] = {"0": [], "1": [], "2": []}
    for class_name in class_names:
        for place, line in read_lines(folder / f"{class_name}{end}", _HMDB51_LISTS):
            file, *part = line.rsplit(maxsplit=1)
            if part == [] or part[0] not in parts:
                raise PreprocessError(
                    f"{place}: expected the file name of a clip, and 1 to train on it, 2 to test "
                    f"it or 0 for neither. Received {line!r}."
                )
            name = _without_suffix(file)
            if name in lines:
                raise PreprocessError(f"{place}: {name} is listed already in {lines[name]}.")
            lines[name] = place
            parts[part[0]].append(FileName(class_name, name))
    return OfficialSplit(
        number, tuple(parts["1"]), tuple(parts["2"]), form="video_class_u_nm_np1_ba_goo_0"
    )


def official_split(clips: Clips, *, number: int, lists: Path | None, seed: int) -> ListedClips:
    """Split clips as their data set's authors or users do.

    HMDB51 and UCF101, and any other data set with lists of UCF101's form, have lists. UCF50 tests
    one group of each class, and trains on the others. YouTube Celebrities has folds, drawn here:
    of each session of a person one clip is trained on and two are tested, other clips in each fold
    as far as there are some. Hollywood2's clips are called after their part.

    Args:
        clips: the clips.
        number: number of the split, from 1.
        lists: folder of the lists; None for that of the data set.
        seed: seed of folds that are drawn.

    Raises:
        PreprocessError: if there is no such split, the lists cannot be read or contradict the
            clips, or a part has no clip.
    """
    if clips.dataset == UCF50.name:
        _require_number(number, UCF50.num_splits)
        return _split_by_group(clips, number)
    if clips.dataset == CELEBRITIES.name:
        _require_number(number, CELEBRITIES.num_splits)
        return _draw_fold(clips, number - 1, seed)
    if clips.dataset == HOLLYWOOD2.name:
        _require_number(number, HOLLYWOOD2.num_splits)
        return _split_by_name(clips)
    if clips.dataset == HMDB51.name:
        lists = lists or Path(HMDB51.default_lists_dir or "")
        official = read_hmdb51_split(lists, number, clips.class_names)
        names = {
            clip.name: clip
            for clip in (*official.train, *official.test)
            if isinstance(clip, FileName)
        }
        joined = join_clips(official, clips.sources, lambda file: names.get(_without_suffix(file)))
        _check_classes(clips, names, joined)
        return joined
    lists = lists or Path(UCF101.default_lists_dir or "")
    return join_clips(
        read_official_split(lists, number).of_classes(clips.class_names), clips.sources
    )


def num_official_splits(dataset: str) -> int:
    """Number of the official splits of a data set; lists of UCF101's form are three."""
    known = DATASETS.get(dataset)
    return (known.num_splits if known else 0) or UCF101.num_splits


def _require_number(number: int, num_splits: int) -> None:
    if not 1 <= number <= num_splits:
        raise PreprocessError(f"The official splits are 1 to {num_splits}. Received {number}.")


def _split_by_group(clips: Clips, number: int) -> ListedClips:
    """Test the clips of one group of each class, and train on all others."""
    groups = [name and int(name.group) for name in map(_parse_file, clips.sources)]
    train, test = (
        [i for i, group in enumerate(groups) if group is not None and (group == number) is tested]
        for tested in (False, True)
    )
    if not train or not test:
        there = sorted({group for group in groups if group is not None})
        raise PreprocessError(
            f"Official split {number} of UCF50 tests the clips of group g{number:02d}, and trains "
            f"on the others. Received clips of the groups {', '.join(map(str, there))}; choose "
            "another of these."
        )
    unlisted = [
        source for source, group in zip(clips.sources, groups, strict=True) if group is None
    ]
    return ListedClips(np.array(train, np.int64), np.array(test, np.int64), (), tuple(unlisted))


def _draw_fold(clips: Clips, fold: int, seed: int) -> ListedClips:
    """Choose a fold's clips of each session, the first to train on and the others to test."""
    sessions: dict[str, list[int]] = {}
    for position, group in enumerate(clips.groups):
        sessions.setdefault(group, []).append(position)
    rng = np.random.default_rng(seed)
    train, test = [], []
    for _, positions in sorted(sessions.items()):
        # Every fold draws the same order and begins where the one before it has ended.
        order = np.roll(rng.permutation(positions), -fold * _CLIPS_OF_A_SESSION)
        train += order[:1].tolist()
        test += order[1:_CLIPS_OF_A_SESSION].tolist()
    if not test:
        raise PreprocessError(
            "A fold of YouTube Celebrities tests two clips of each session beside the one that it "
            f"trains on. Received {len(clips.sources)} clips in {len(sessions)} sessions; add some."
        )
    chosen = {*train, *test}
    unlisted = [source for i, source in enumerate(clips.sources) if i not in chosen]
    return ListedClips(
        np.array(sorted(train), np.int64), np.array(sorted(test), np.int64), (), tuple(unlisted)
    )


def _split_by_name(clips: Clips) -> ListedClips:
    """Split actioncliptrain00001 and actioncliptest00001 by their names."""
    train, test = (
        [i for i, source in enumerate(clips.sources) if f"clip{part}" in source.rpartition("/")[2]]
        for part in ("train", "test")
    )
    if not train or not test:
        raise PreprocessError(
            "Hollywood2's official split needs clips called actioncliptrain00001 and "
            f"actioncliptest00001. Received {len(train)} to train on and {len(test)} to test."
        )
    chosen = {*train, *test}
    unlisted = [source for i, source in enumerate(clips.sources) if i not in chosen]
    return ListedClips(np.array(train, np.int64), np.array(test, np.int64), (), tuple(unlisted))


def _check_classes(clips: Clips, names: dict[str, FileName], joined: ListedClips) -> None:
    """Raise PreprocessError for a clip that is in the list of another class than its folder's."""
    for position in (*joined.train, *joined.test):
        source = clips.sources[position]
        listed = names[_without_suffix(source.rpartition("/")[2])].class_name
        found = clips.class_names[clips.labels[position]]
        if listed != found:
            raise PreprocessError(
                f"{source} is a clip of {found} by its folder, and of {listed} by the official "
                "lists. Move it, or correct the list."
            )


def _without_suffix(file: str) -> str:
    """Name of a clip's file without a video's suffix; names may have dots."""
    return (
        file
        if PurePosixPath(file).suffix.lower() not in VIDEO_SUFFIXES
        else file.rpartition(".")[0]
    )


def _parse_file(source: str) -> ClipName | None:
    return parse_clip_name(PurePosixPath(source).name)


def join_clips(
    official: OfficialSplit,
    sources: Sequence[str],
    parse: Callable[[str], ListedName | None] = parse_clip_name,
) -> ListedClips:
    """Find the listed clips among existing ones, whatever their suffix and folder.

    Args:
        official: the lists.
        sources: sources of the existing clips; their last part is the clip's name.
        parse: function of that name to the name in the lists; None for an unlisted clip.

    Raises:
        PreprocessError: if no clip of a list exists, or a listed clip exists twice.
    """
    # By the clip's name alone: users convert files and rearrange folders.
    names = [parse(PurePosixPath(source).name) for source in sources]
    both = (*official.train, *official.test)
    positions = _positions(set(both), names, sources)
    unlisted = (
        source for source, name in zip(sources, names, strict=True) if name not in positions
    )
    return ListedClips(
        train=_subset("train", official.train, positions, sources, official.form),
        test=_subset("test", official.test, positions, sources, official.form),
        missing=tuple(str(clip) for clip in both if clip not in positions),
        unlisted=tuple(unlisted),
    )


def _positions(
    listed: set[ListedName], names: Sequence[ListedName | None], sources: Sequence[str]
) -> dict[ListedName, int]:
    """Position of each listed clip among the existing ones."""
    positions: dict[ListedName, int] = {}
    for position, name in enumerate(names):
        if name is None or name not in listed:
            continue
        first = positions.setdefault(name, position)
        if first != position:
            both = f"{sources[first]} and {sources[position]}"
            raise PreprocessError(f"{name} is here twice: {both}. Remove one.")
    return positions


def _subset(
    name: str,
    clips: Sequence[ListedName],
    positions: dict[ListedName, int],
    sources: Sequence[str],
    form: str,
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
            f"{form}."
        )
    return np.array(found, np.int64)


def _some(names: Sequence[str]) -> str:
    """First few names in brackets, for a message."""
    more = ", ..." if len(names) > _NAMED else ""
    return f" ({', '.join(names[:_NAMED])}{more})" if names else ""


def read_lines(path: Path, remedy: str = _UCF101_LISTS) -> Iterator[tuple[str, str]]:
    """Yield place (for messages) and text of each line that is not empty."""
    try:
        # utf-8-sig: editors on Windows put a byte order mark at the beginning.
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise PreprocessError(f"Cannot read {path}: {reason}. {remedy}") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"{path}, line {number}", line.strip()


def _read_labels(path: Path) -> dict[str, str]:
    """Read the number of each class, in digits."""
    labels: dict[str, str] = {}
    for place, line in read_lines(path):
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
    for place, line in read_lines(path):
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
