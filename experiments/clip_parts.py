"""The parts of a set of clips, and the shards that hold them, as flags and recipe want them."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from experiments import formatting
from experiments.clip_arguments import ClipArguments, RecipeType, Strategy
from experiments.clip_recipe import ClipRecipe, Size
from experiments.datasets import open_dataset
from preprocess.catalog import Dataset
from preprocess.clip_sets import find_clip_set
from preprocess.errors import DecodeError
from preprocess.listed_parts import read_parts, split_by_parts
from preprocess.official_lists import join_clips, read_official_split
from preprocess.reader import Shards, open_shards
from preprocess.settings import FrameSettings
from preprocess.splits import Split, make_split, split_as_listed


def with_frame_size(dataset: Dataset, arguments: ClipArguments, recipe: RecipeType) -> RecipeType:
    """A recipe that says how large frames are stored, where it left that to the clips.

    Raises:
        PreprocessError: if there are no clips.
    """
    if recipe.frame_size is not None:
        return recipe
    if arguments.videos is None and arguments.shards is not None:
        return replace(recipe, frame_size=open_shards(arguments.shards).frame_size)
    videos = arguments.videos or Path(dataset.default_videos_dir)
    return replace(recipe, frame_size=_own_size(videos, arguments.classes))


def _own_size(videos: Path, classes: Sequence[str] | None) -> Size:
    """The commonest size of the clips' pictures; which it is, and what differs, is told."""
    sizes: Counter[Size] = Counter()
    for clip in find_clip_set(videos).clips:
        if classes is not None and clip.class_name not in classes:
            continue
        try:
            with FrameSettings().open(clip, threads=1) as reader:
                sizes[reader.info.width, reader.info.height] += 1
        except DecodeError:
            continue  # extraction names it
    if not sizes:
        return FrameSettings().size  # extraction says why
    ((width, height), number), *others = sizes.most_common()
    print(
        f"Frames are stored as {width}x{height}, the size of the clips' own pictures, "
        f"{formatting.size(3 * width * height)} each before compression; --set frame_size=[W,H] "
        "stores others."
    )
    if others:
        num_others = sum(count for _, count in others)
        print(
            f"{num_others} of {num_others + number} clips have pictures of another size than "
            f"{width}x{height}, which are stretched to it. For the original's answers give clips "
            "of one size.",
            file=sys.stderr,
        )
    return width, height


def open_clips(dataset: Dataset, arguments: ClipArguments, recipe: ClipRecipe) -> Shards:
    """The clips, extracted as the recipe wants them.

    Raises:
        PreprocessError, ValueError: if they are not there, or otherwise.
    """
    settings = recipe.settings()
    shards = open_dataset(
        dataset,
        videos=arguments.videos,
        shards=arguments.shards,
        settings=settings,
        classes=arguments.classes,
        jobs=arguments.jobs,
        scheduler=arguments.scheduler,
        allow_failures=arguments.allow_failures,
    )
    recipe.crops.require_fit(shards.frame_size)
    if shards.stride != recipe.stride:
        raise ValueError(
            f"The recipe looks at every {formatting.ordinal(recipe.stride)} frame, and "
            f"{shards.folder} holds every {formatting.ordinal(shards.stride)}. Extract again with "
            f"--stride {recipe.stride}, or say --set stride={shards.stride}."
        )
    _tell_of_other_frames(shards, settings)
    return shards


def _tell_of_other_frames(shards: Shards, wanted: FrameSettings) -> None:
    """Shards that were made otherwise than the recipe would have made them are still used."""
    there = shards.settings
    assert isinstance(there, FrameSettings)
    names = ("interpolation", "grey")
    differing = [name for name in names if getattr(there, name) != getattr(wanted, name)]
    if differing:
        found, asked = (
            ", ".join(f"{name}={getattr(one, name)}" for name in differing)
            for one in (there, wanted)
        )
        print(
            f"{shards.folder} was extracted with {found}; the recipe extracts with {asked}, so its "
            "pixels differ. Extract --videos again to have the recipe's.",
            file=sys.stderr,
        )


def split_clips(
    strategy: Strategy,
    arguments: ClipArguments,
    recipe: ClipRecipe,
    shards: Shards,
    *,
    num_folds: int,
    lists: tuple[Path, int] | None = None,
) -> Split:
    """The clips to train on, to validate and to test.

    Args:
        strategy: "group" and "random" deal them out; "official" and "listed" take what somebody
            has written down, beside the clips or in the list that `videos` names.
        arguments: flags of the job.
        recipe: says what validates.
        shards: the clips.
        num_folds: of which one is tested, and one of the rest validates.
        lists: of "official", their folder and number.

    Raises:
        PreprocessError, ValueError: if the clips, or the lists, do not allow it.
    """
    common: Any = {"num_folds": num_folds, "seed": arguments.seed}
    if strategy == "listed":
        split = _as_listed(arguments, shards)
    elif strategy == "official":
        assert lists is not None
        official = read_official_split(*lists).of_classes(shards.class_names)
        listed = join_clips(official, shards.sources)
        print(listed)
        split = split_as_listed(
            *(shards.labels, shards.groups), train=listed.train, test=listed.test, **common
        )
    else:
        split = make_split(
            *(shards.labels, shards.groups), strategy=strategy, fold=arguments.fold, **common
        )
    return split if recipe.validation == "held out" else split.validated_by_test()


def _as_listed(arguments: ClipArguments, shards: Shards) -> Split:
    """A list without a part to test, or to validate, has the other one do both."""
    if arguments.videos is None:
        raise ValueError("--split listed needs the list: --videos LIST.csv, or Epic Kitchens.")
    split = split_by_parts(read_parts(arguments.videos), shards.sources)
    _tell_of_shared_videos(split, shards.sources)
    missing = "test" if not len(split.test) else "validation" if not len(split.validation) else ""
    if not missing:
        return split
    there = split.test if missing == "validation" else split.validation
    if not len(there):
        raise ValueError(f"{arguments.videos} must have clips of the part validation or test.")
    print(
        f"{arguments.videos} has no clips of the part {missing}: {len(there)} clips both validate "
        "and are tested, so that the choice of the best epoch flatters the test.",
        file=sys.stderr,
    )
    return Split(split.train, validation=there, test=there)


def _tell_of_shared_videos(split: Split, sources: Sequence[str]) -> None:
    """Stretches of a video, `NAME [1.00-2.00]`, look alike, whatever the list says of groups."""
    videos = [source.rpartition(" [")[0] or source for source in sources]
    trained = {videos[i] for i in split.train}
    number = sum(videos[i] in trained for i in split.test)
    if number:
        print(
            f"{number} of {len(split.test)} test clips are stretches of videos that training sees "
            "too: their accuracy says little about new videos.",
            file=sys.stderr,
        )
