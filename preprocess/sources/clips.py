"""Clips of a folder of videos, sorted, each with its class and its group."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from preprocess.errors import PreprocessError
from preprocess.sources.catalog import (
    ClipName,
    official_spelling,
    parse_celebrity_name,
    parse_clip_name,
    parse_hmdb51_video,
)
from preprocess.video.frame_folder import holds_frames

# One line for each of FFmpeg's demuxers, all of which ffmpeg.py allows. GIF is left out: beside
# videos it is a preview, and among the frames of a clip it would take their place.
_SUFFIXES = """
    .mp4 .m4v .mov .qt .3gp .3g2 .f4v .mj2 .insv
    .mkv .mk3d .webm
    .avi .divx .xvid
    .mpg .mpeg .mpe .m1v .m2v .mpv .m2p .vob .vro .evo .mod
    .ts .mts .m2ts .m2t .tp .trp .tod
    .flv
    .wmv .asf .wm .dvr-ms
    .wtv
    .ogv .ogm
    .mxf
    .gxf
    .rm .rmvb
    .dv .dif
    .nut
    .ivf
    .y4m
    .mjpg .mjpeg
    .h264 .264 .h265 .265 .hevc .vvc .266 .obu .vc1
"""
VIDEO_SUFFIXES = frozenset(_SUFFIXES.split())
"""Suffixes of video files, in small letters."""
# UCF11 has one of the first in each group; FiftyOne keeps the clips without a class in the last.
_IGNORED_FOLDERS = frozenset({"annotation", "annotations", "_unlabeled"})
# What systems, and the built-in data set, put into every folder.
_SYSTEM_FOLDERS = frozenset(
    {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"}
)
_SYSTEM_FILES = frozenset(
    {"thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "synthetic.json"}  # synthetic.STAMP_NAME
)
_SUFFIX = re.compile(r"\.[a-z0-9_!-]{1,12}")
_NAMED = 6  # number of suffixes that a message lists
_GROUP_FOLDER = re.compile(r".+_\d+$")  # v_shooting_01
_GROUP_IN_NAME = re.compile(r"_(g\d+)_c\d+(?:\.[^.\s]+)?$")  # v_Archery_g01_c02.avi
_LAYOUTS = (
    "Expected class/v_name_NN/v_name_NN_MM.mpg (UCF11), class/clip.mp4 or v_Class_gNN_cNN.avi "
    "(UCF101), with a file name that ends as a video's does (.mp4 .mov .avi .mkv .mpg .mts .wmv "
    "..., all in docs/data.md), or a folder of frame000001.jpg, frame000002.jpg, ... in the place "
    "of the file."
)


@dataclass
class FolderListing:
    """Files and folders of frames below a folder.

    Args:
        videos: paths of the video files, relative to the folder, sorted.
        frame_folders: paths of folders of frames without videos, sorted.
        left_out: number of files without a video's name, by suffix; "" for no suffix.
        num_ignored: number of videos in folders of `_IGNORED_FOLDERS`.
    """

    videos: list[str] = field(default_factory=list)
    frame_folders: list[str] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    num_ignored: int = 0

    def leave_out(self, names: Iterable[str]) -> None:
        """Count files without a video's name, except those that systems leave everywhere."""
        self.left_out.update(_suffix(name) for name in names if not _is_hidden(name, _SYSTEM_FILES))

    @property
    def notice(self) -> str:
        """Description of the files that were left out, for a person; empty if there are none."""
        notices = []
        if self.left_out:
            kinds = self.left_out.most_common()
            named = [f"{count} {suffix or 'without a suffix'}" for suffix, count in kinds[:_NAMED]]
            if rest := sum(count for _, count in kinds[_NAMED:]):
                named.append(f"{rest} of other kinds")
            total = self.left_out.total()
            files = "1 file is no video by its name"
            if total > 1:
                files = f"{total} files are no videos by their names"
            notices.append(f"Left out: {files}: {', '.join(named)}.")
        if self.num_ignored:
            videos = "1 video is" if self.num_ignored == 1 else f"{self.num_ignored} videos are"
            notices.append(f"Left out: {videos} in a folder called annotation or _unlabeled.")
        return " ".join(notices)


@dataclass(frozen=True)
class Clip:
    """One video with its class and group, as its place in the folder tells them.

    Args:
        path: the file, or the folder of its frames.
        source: its path relative to the videos folder, with forward slashes.
        class_name: name of its class.
        group: key shared by the clips of one scene, unique over all classes.
        detail: text of whatever else its frames depend on, such as a part of the picture.
        labels: all of its classes, where clips may have several; `class_name` is the first one.

    Example:
        >>> clip = find_clips("data/UCF-101")[0]
        >>> clip.class_name, clip.group
        ('ApplyEyeMakeup', 'ApplyEyeMakeup/g01')
    """

    path: Path
    source: str
    class_name: str
    group: str
    detail: str = ""
    labels: tuple[str, ...] = ()


def find_clips(root: str | os.PathLike[str]) -> list[Clip]:
    """Find all clips below a folder.

    A clip is a video file, or a folder of its frames, `frame000001.jpg` and on. Three layouts
    are understood, of which the first two may be mixed. `class/v_name_NN/clip` is UCF11's: the
    folder `v_name_NN` is the group. In `class/clip` a name that ends in `_gNN_cNN` gives the
    group, and a name as HMDB51's the video that the clip was cut from; any other clip is a group
    of its own. In a folder that holds clips and no folders of clips, `v_Class_gNN_cNN` gives the
    class too; so does YouTube Celebrities' `NNNN_SS_NNN_person`, whose group is the person's
    session SS. If no name has such a form, all are one class, named after the folder. Hidden files,
    folders called `Annotation` or `_unlabeled`, and files that are neither videos nor frames are
    ignored; the `notice` of `list_videos` counts them.

    Args:
        root: the folder of videos.

    Returns:
        The clips, sorted by source.

    Raises:
        PreprocessError: if the folder is missing, holds no clips, or holds clips in no layout or
            twice.

    Example:
        >>> clips = find_clips("data/UCF11_updated_mpg")
        >>> clips[0].class_name
        'basketball'
    """
    root = Path(root)
    require_folder(root)
    return clips_of(root, list_videos(root))


def clips_of(root: Path, listing: FolderListing) -> list[Clip]:
    """Clips of a folder from its listing; see `find_clips`."""
    sources = sorted([*listing.videos, *listing.frame_folders])
    if not sources:
        notice = f" {listing.notice}" if listing.notice else ""
        raise PreprocessError(f"No videos found in {root}.{notice} {_LAYOUTS}")
    _refuse_twice(root, listing.videos, listing.frame_folders)
    if all("/" not in source for source in sources):
        return _flat_clips(root, sources)
    misplaced = [source for source in sources if not _is_in_layout(source)]
    if misplaced:
        raise PreprocessError(
            f"{len(misplaced)} of {len(sources)} clips in {root} are in no layout, "
            f"for instance {misplaced[0]}. {_LAYOUTS} Move or remove them, or name the folder "
            "that holds the class folders."
        )
    _refuse_wrapper(root, sources)
    return [_clip(root, source, source) for source in sources]


def require_folder(root: Path) -> None:
    """Check that a folder of videos exists.

    Raises:
        PreprocessError: if it does not, or is a file.
    """
    if not root.exists():
        raise PreprocessError(
            f"The videos folder {root} does not exist. Name one that holds class/clip.mp4, or "
            "another layout of docs/data.md."
        )
    if not root.is_dir():
        raise PreprocessError(
            f"The videos folder {root} is a file; name a folder, or a list, which is called "
            "NAME.csv."
        )


def list_videos(
    root: Path, *, is_expected: Callable[[str], bool] = lambda source: False
) -> FolderListing:
    """List the videos, and folders of frames, below a folder.

    Hidden files and folders, and files that systems leave everywhere, are ignored silently.

    Args:
        root: the folder.
        is_expected: function of a path relative to the folder that returns True for other files
            to ignore silently.

    Raises:
        PreprocessError: if a folder cannot be listed.
    """
    listing = FolderListing()
    for folder, names, is_ignored in _walk(root):
        names = [name for name in names if not _is_hidden(name, _SYSTEM_FILES)]
        videos = [str(folder / name) for name in names if is_video_name(name)]
        if is_ignored:
            listing.num_ignored += len(videos)
            continue
        listing.videos += videos
        others = [name for name in names if not is_video_name(name)]
        # Pictures beside videos are previews; alone they are the frames of one clip.
        if not videos and holds_frames(others):
            listing.frame_folders.append(str(folder))
            others = [name for name in others if not holds_frames([name])]
        others = [name for name in others if not is_expected(str(folder / name))]
        listing.leave_out(others)
    listing.videos.sort()
    listing.frame_folders.sort()
    return listing


def holds_videos(folder: Path) -> bool:
    """Return True if a folder, or one below it, holds a video file or the frames of one."""
    if not folder.is_dir():
        return False
    return any(
        holds_frames(names) or any(map(is_video_name, names)) for _, names, _ in _walk(folder)
    )


def _walk(root: Path) -> Iterator[tuple[PurePosixPath, list[str], bool]]:
    """Yield each folder below a root, relative to it, its files, and True if it is to be ignored.

    Links are followed, except into a folder that they lie in.
    """
    # Identities of the folders around each folder that is still to be walked: a link to one of
    # them would make the walk endless.
    above: dict[str, tuple[frozenset[tuple[int, int]], bool]] = {}
    for folder, subfolders, names in os.walk(root, followlinks=True, onerror=_raise):
        parents, is_ignored = above.pop(folder, (frozenset(), False))
        status = os.stat(folder)
        identity = (status.st_dev, status.st_ino)
        if identity in parents:
            subfolders.clear()
            continue
        subfolders[:] = [name for name in subfolders if not _is_hidden(name, _SYSTEM_FOLDERS)]
        for name in subfolders:
            ignores = is_ignored or name.lower() in _IGNORED_FOLDERS
            above[os.path.join(folder, name)] = (parents | {identity}, ignores)
        yield PurePosixPath(Path(folder).relative_to(root).as_posix()), names, is_ignored


def _is_hidden(name: str, system: frozenset[str]) -> bool:
    """Return True for hidden names and those that systems leave everywhere."""
    return name.startswith(".") or name.lower() in system


def is_video_name(name: str) -> bool:
    """Return True if a file's name has the suffix of a video."""
    return Path(name).suffix.lower() in VIDEO_SUFFIXES


def _suffix(name: str) -> str:
    """Suffix for a message, such as `.mp4.part` of an unfinished download; empty for none."""
    *_, inner, outer = ["", "", *Path(name.lower()).suffixes]
    if not _SUFFIX.fullmatch(outer):
        return ""
    return inner + outer if inner in VIDEO_SUFFIXES else outer


def _raise(error: OSError) -> None:
    """Raise PreprocessError for a folder that os.walk would otherwise skip silently."""
    raise PreprocessError(f"Cannot list {error.filename}: {error.strerror}.")


def _refuse_twice(root: Path, videos: Sequence[str], frame_folders: Sequence[str]) -> None:
    """Refuse clips that exist as a video and as frames: a split could separate the two."""
    if "." in frame_folders:
        raise PreprocessError(
            f"{root} holds the frames of one clip. Name the folder that holds the clips' folders."
        )
    stems = {str(PurePosixPath(video).with_suffix("")) for video in videos}
    twice = sorted(stems.intersection(frame_folders))
    if twice:
        raise PreprocessError(
            f"{len(twice)} clips in {root} are there as a video and as a folder of frames, "
            f"for instance {twice[0]}. Keep the two in different folders, and name one of them."
        )


def _flat_clips(root: Path, sources: Sequence[str]) -> list[Clip]:
    """Clips of a folder without folders of clips."""
    people = [parse_celebrity_name(source) for source in sources]
    # Half of them: a single name of this form may be a date and a chance.
    if 2 * sum(map(bool, people)) > len(sources):
        _refuse_nameless(root, sources, people, "NNNN_SS_NNN_person")
        return [
            Clip(root / source, source, name.person, f"{name.person}/{name.session}")
            for source, name in zip(sources, people, strict=True)
            if name
        ]
    names = [_clip_name(source) for source in sources]
    if not any(names):
        return [_clip(root, source, f"{root.resolve().name}/{source}") for source in sources]
    _refuse_nameless(root, sources, names, "v_Class_gNN_cNN")
    return [
        _clip(root, source, f"{name.class_name}/{source}")
        for source, name in zip(sources, names, strict=True)
        if name
    ]


def _refuse_nameless(
    root: Path, sources: Sequence[str], names: Sequence[object | None], form: str
) -> None:
    """Refuse clips whose names could not be parsed, beside others that could."""
    nameless = [source for source, name in zip(sources, names, strict=True) if name is None]
    if nameless:
        raise PreprocessError(
            f"{len(nameless)} of {len(sources)} clips in {root} are not called {form} as "
            f"the others are, for instance {nameless[0]}. Move or rename them, or make a folder "
            "of each class."
        )


def _clip_name(source: str) -> ClipName | None:
    """Parts of a source's file name, if it has the form v_Class_gNN_cNN."""
    return parse_clip_name(PurePosixPath(source).name)


def _refuse_wrapper(root: Path, sources: Sequence[str]) -> None:
    """Refuse a single folder whose clips are of several classes by their names."""
    # Unpacked archives often have one folder around everything; it would become the only class.
    folders = {source.split("/")[0] for source in sources}
    classes = {name.class_name for name in map(_clip_name, sources) if name}
    if len(folders) == 1 and len(classes) > 1:
        wrapper = root / folders.pop()
        raise PreprocessError(
            f"{root} holds one folder only, and that has clips of {len(classes)} classes by "
            f"their names. Name {wrapper} instead, or make a folder of each class."
        )


def _is_in_layout(source: str) -> bool:
    """Return True for class/clip and class/v_name_NN/clip."""
    folders = source.split("/")[:-1]
    return len(folders) == 1 or (len(folders) == 2 and bool(_GROUP_FOLDER.match(folders[1])))


def _clip(root: Path, source: str, place: str) -> Clip:
    """Create the clip at root / source, with class and group from `place`."""
    first_folder, *group_folder, _ = place.split("/")
    class_name = official_spelling(first_folder)
    name = PurePosixPath(place).name
    in_name = _GROUP_IN_NAME.search(name)
    video = parse_hmdb51_video(name, class_name)
    # Group numbers begin again in every class, so the class is part of the key.
    if group_folder:
        group = f"{class_name}/{group_folder[0]}"
    elif in_name:
        group = f"{class_name}/{in_name[1]}"
    elif video:
        # Without the class: clips of one video are alike, whatever they show.
        group = video
    else:
        group = place
    return Clip(path=root / source, source=source, class_name=class_name, group=group)
