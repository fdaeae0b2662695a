"""Hollywood2's actions: clips of films in `AVIClips`, each of any number of 12 classes.

`ClipSets/CLASS_train.txt` and `CLASS_test.txt` say of each clip whether it shows the class. Lists
called `CLASS_autotrain.txt`, whose labels a program has found, and `actions_*.txt`, which name no
class, are not read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from common.errors import did_you_mean
from preprocess.errors import PreprocessError
from preprocess.sources.catalog import HOLLYWOOD2
from preprocess.sources.clips import is_video_name
from preprocess.sources.listed_clips import ListedClip
from preprocess.sources.official_lists import read_lines

_CLIPS, _LISTS = "AVIClips", "ClipSets"
_SUBSETS = ("train", "test")
_OTHERS = ("autotrain",)
_SHOWN = {"1": True, "-1": False}
_REMEDY = f"{_LISTS} must hold CLASS_train.txt and CLASS_test.txt of each class that it has"


def is_hollywood2(folder: Path) -> bool:
    """Return True if a folder has Hollywood2's layout.

    Raises:
        PreprocessError: if it is the folder of the clips in such a folder.
    """
    # Without the lists all clips would be of one class.
    if folder.name == _CLIPS and (folder.parent / _LISTS).is_dir():
        raise PreprocessError(
            f"Hollywood2's folder must be named, which holds {_CLIPS} and {_LISTS}. Received "
            f"{folder}; name {folder.parent}."
        )
    return (folder / _CLIPS).is_dir() and (folder / _LISTS).is_dir()


def read_hollywood2(folder: Path) -> tuple[list[ListedClip], tuple[str, ...], str]:
    """Read the clips of Hollywood2 with their classes and parts.

    Args:
        folder: holds `AVIClips` and `ClipSets`.

    Returns:
        The clips, sorted by source; the classes that have lists, in label order; and a notice of
        what is left out, empty if nothing is.

    Raises:
        PreprocessError: if a list is missing, of an unknown class, or contradicts another one; the
            message names file and line.
    """
    class_names = _listed_classes(folder / _LISTS)
    labels: dict[str, list[str]] = {}
    subsets: dict[str, str] = {}
    for subset in _SUBSETS:
        for class_name in class_names:
            path = folder / _LISTS / f"{class_name}_{subset}.txt"
            shown = _read_shown(path, subsets, subset)
            if class_name == class_names[0]:
                subsets |= dict.fromkeys(shown, subset)
                labels |= {name: [] for name in shown}
            expected = {name for name, part in subsets.items() if part == subset}
            if strange := sorted(expected.symmetric_difference(shown)):
                first = f"{class_names[0]}_{subset}.txt"
                has, lacks = (first, path) if strange[0] in expected else (path, first)
                raise PreprocessError(
                    f"The lists of all classes must name the same clips. {has} has {strange[0]}, "
                    f"and {lacks} does not; correct either."
                )
            for name, is_shown in shown.items():
                labels[name] += [class_name] if is_shown else []
    files = _clip_files(folder / _CLIPS)
    clips = [
        ListedClip(
            path=folder / _CLIPS / files[name],
            source=f"{_CLIPS}/{files[name]}",
            class_name=classes[0],
            # Which film a clip is from is not told.
            group=f"{_CLIPS}/{files[name]}",
            labels=tuple(classes),
            subset=subsets[name],
        )
        for name, classes in labels.items()
        if classes and name in files
    ]
    if not clips:
        raise PreprocessError(
            f"None of the {len(labels)} clips in the lists of {folder / _LISTS} is in "
            f"{folder / _CLIPS}. Clips must be called as in the lists, actioncliptrain00001.avi."
        )
    notices = {
        "listed clips are not there": sorted(labels.keys() - files.keys()),
        "clips are in no list of the parts train and test": sorted(files.keys() - labels.keys()),
        "clips show none of the classes": sorted(
            name for name, classes in labels.items() if not classes
        ),
    }
    parts = [
        f"{len(names)} {what}, {names[0]} for instance" for what, names in notices.items() if names
    ]
    notice = f"Left out: {'; '.join(parts)}." if parts else ""
    return sorted(clips, key=lambda clip: clip.source), class_names, notice


def _listed_classes(folder: Path) -> tuple[str, ...]:
    """Classes that have lists, in label order."""
    found = set()
    for path in folder.glob("[!.]*.txt"):
        class_name, _, subset = path.stem.rpartition("_")
        if class_name == "actions" or subset not in (*_SUBSETS, *_OTHERS):
            continue
        if class_name not in HOLLYWOOD2.class_names:
            meant = did_you_mean(class_name, HOLLYWOOD2.class_names)
            raise PreprocessError(
                f"{path}: a list must be called after one of Hollywood2's "
                f"{HOLLYWOOD2.num_classes} classes. Received {class_name!r}. {meant}".strip()
            )
        found.add(class_name)
    if not found:
        raise PreprocessError(f"There are no lists in {folder}. {_REMEDY}.")
    return tuple(name for name in HOLLYWOOD2.class_names if name in found)


def _read_shown(path: Path, subsets: dict[str, str], subset: str) -> dict[str, bool]:
    """Read whether each clip of a list shows its class.

    Args:
        path: the list.
        subsets: parts of the clips of the lists before.
        subset: part of the list.
    """
    shown: dict[str, bool] = {}
    for place, line in read_lines(path, _REMEDY):
        name, *value = line.split()
        if len(value) != 1 or value[0] not in _SHOWN:
            raise PreprocessError(
                f"{place}: expected the name of a clip, and 1 if it shows the class or -1 if not. "
                f"Received {line!r}."
            )
        if name in shown:
            raise PreprocessError(f"{place}: {name} stands in a line before.")
        if subsets.get(name, subset) != subset:
            raise PreprocessError(
                f"{place}: {name} is in a list of the part {subsets[name]}, too. A clip belongs to "
                "one part; remove it from the other's lists."
            )
        shown[name] = _SHOWN[value[0]]
    return shown


def _clip_files(folder: Path) -> dict[str, str]:
    """Video files of a folder by their names without the suffix."""
    files: dict[str, str] = {}
    for name in _video_names(folder):
        stem = name.rpartition(".")[0]
        if stem in files:
            raise PreprocessError(
                f"{stem} is in {folder} twice: {files[stem]} and {name}. Remove one."
            )
        files[stem] = name
    return files


def _video_names(folder: Path) -> Iterator[str]:
    try:
        names = sorted(path.name for path in folder.iterdir())
    except OSError as error:
        raise PreprocessError(f"Cannot list {folder}: {error.strerror}.") from error
    return (name for name in names if is_video_name(name) and not name.startswith("."))
