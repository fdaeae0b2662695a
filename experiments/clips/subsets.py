"""Open the clips of a job as its flags and recipe ask, and split them into subsets."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from common import formatting
from common.errors import InputError
from experiments.clips.datasets import Clips, clips_to_open, open_dataset
from experiments.clips.recipe import ClipArguments, ClipRecipe, RecipeType, Size, Strategy
from preprocess.errors import DecodeError
from preprocess.shards.reader import Shards, open_shards
from preprocess.shards.settings import FrameSettings
from preprocess.sources.catalog import DATASETS, Dataset
from preprocess.sources.clip_sets import choose_clip_set, read_subsets
from preprocess.sources.clips import Clip
from preprocess.sources.official_lists import official_split
from preprocess.sources.splits import (
    Split,
    make_split,
    split_as_listed,
    split_by_subsets,
    untrained_classes,
)


def with_frame_size(dataset: Dataset, arguments: ClipArguments, recipe: RecipeType) -> RecipeType:
    """Complete a recipe with the size of stored frames, where it leaves that to the clips.

    Raises:
        PreprocessError: if there are no clips.
    """
    if recipe.frame_size is not None:
        return recipe
    if arguments.videos is None and arguments.shards is not None:
        return replace(recipe, frame_size=open_shards(arguments.shards).frame_size)
    clip_set = choose_clip_set(
        arguments.videos or Path(dataset.default_videos_dir),
        dataset=None if arguments.videos else dataset.name,
        classes=arguments.classes,
    )
    return replace(recipe, frame_size=_own_size(clip_set.clips))


def _own_size(clips: Sequence[Clip]) -> Size:
    """Return the commonest frame size of the clips; print it, and how many clips differ."""
    size_of: dict[Path, Size] = {}
    sizes: Counter[Size] = Counter()
    for clip in tqdm(clips, "picture sizes", unit="clip", delay=3, leave=False, disable=None):
        # Several clips may be time ranges of one video, which is opened once.
        if clip.path not in size_of:
            try:
                with FrameSettings().open(clip, threads=1) as reader:
                    size_of[clip.path] = reader.info.width, reader.info.height
            except DecodeError:
                # The extraction will name it.
                continue
        sizes[size_of[clip.path]] += 1
    if not sizes:
        # The extraction will say why none can be read.
        return FrameSettings().size
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
            f"{width}x{height}. They are stored stretched to it and seen in their own shape: "
            "scaled twice, their pixels differ from the original's. For its answers give clips of "
            "one size.",
            file=sys.stderr,
        )
    return width, height


def open_clips(dataset: Dataset, arguments: ClipArguments, recipe: ClipRecipe) -> Shards:
    """Open the shards of the clips; extract them first where they are missing.

    Raises:
        PreprocessError, ValueError: if there are no clips, or the shards do not fit the recipe.
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
    # Unlike the interpolation, this cannot be passed over: a view would span another time.
    if shards.stride != recipe.stride:
        raise InputError(
            f"The recipe looks at every {formatting.ordinal(recipe.stride)} frame, and "
            f"{shards.folder} holds every {formatting.ordinal(shards.stride)}. Extract again with "
            f"--stride {recipe.stride}, or say --set stride={shards.stride}."
        )
    _tell_of_other_frames(shards, settings)
    return shards


def _tell_of_other_frames(shards: Shards, wanted: FrameSettings) -> None:
    """Print a note if the shards were extracted with other settings than the recipe's.

    They are used all the same: shards may have been made for another recipe.
    """
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


@dataclass(frozen=True)
class Subsets:
    """Clips of a job, and the rule that splits them into training, validation and test clips.

    Args:
        dataset: the job's own data set, whose usual place is taken where no folder is named.
        strategy: "group" and "random" make folds; "official" follows the data set's lists or rule,
            "listed" the lists beside the clips or in the file that `videos` names.
        arguments: flags of the job: `videos`, `shards`, `fold`, `seed`, and `classes` if any.
        validation: of the recipe: "held out", or "test" where the test clips validate too.
        num_folds: number of folds; one is tested, and one of the rest validates.
        lists: folder and number of the "official" lists; None for the data set's usual folder.
        takes_several: whether the job's models take clips that may be of several classes.
    """

    dataset: Dataset
    strategy: Strategy
    arguments: Any
    validation: str
    num_folds: int
    lists: tuple[Path | None, int] = (None, 1)
    takes_several: bool = False

    def check(self) -> str:
        """Split the clips that will be opened, before any is rendered or extracted.

        Returns:
            Name of their data set.

        Raises:
            PreprocessError, ValueError: if the clips, or the lists, do not allow it.
        """
        arguments = self.arguments
        # The split depends on names and labels alone, so that it can be tried before the hours of
        # extraction.
        clips = clips_to_open(
            self.dataset,
            videos=arguments.videos,
            shards=arguments.shards,
            classes=getattr(arguments, "classes", None),
        )
        self._split(clips)
        return clips.dataset

    def open(self, settings: FrameSettings) -> Shards:
        """Open the shards of the clips; render and extract first what is missing.

        Args:
            settings: settings of an extraction.

        Raises:
            PreprocessError: if a folder is missing or holds no clips, or clips cannot be read.
        """
        return open_dataset(
            self.dataset,
            videos=self.arguments.videos,
            shards=self.arguments.shards,
            settings=settings,
            classes=getattr(self.arguments, "classes", None),
            jobs=self.arguments.jobs,
            scheduler=self.arguments.scheduler,
            allow_failures=self.arguments.allow_failures,
        )

    def split(self, clips: Clips) -> Split:
        """Split clips into subsets to train on, to validate and to test.

        Notes on the split are printed to the standard error.

        Raises:
            PreprocessError, ValueError: if the clips, or the lists, do not allow it.
        """
        split, notes = self._split(clips)
        for note in notes:
            print(note, file=sys.stderr)
        return split

    def _split(self, clips: Clips) -> tuple[Split, list[str]]:
        if clips.label_matrix is not None and not self.takes_several:
            raise InputError(
                f"The models of this job tell one class of each clip. {clips.dataset} has clips of "
                "several: use python -m experiments.ucf11."
            )
        if len(np.unique(clips.labels)) < 2:
            raise InputError(
                "A classifier needs clips of at least 2 classes. Received "
                f"{len(clips.sources)} clips, all of {clips.class_names[clips.labels[0]]!r}."
            )
        common: Any = {"num_folds": self.num_folds, "seed": self.arguments.seed}
        notes: list[str] = []
        if self.strategy == "listed":
            split, notes = self._as_listed(clips.sources)
        elif self.strategy == "official":
            folder, number = self.lists
            listed = official_split(clips, number=number, lists=folder, seed=self.arguments.seed)
            notes = [str(listed)]
            split = split_as_listed(
                clips.labels, clips.groups, train=listed.train, test=listed.test, **common
            )
        else:
            split = make_split(
                clips.labels,
                clips.groups,
                strategy=self.strategy,
                fold=self.arguments.fold,
                **common,
            )
        # As published: the test clips validate too, and the clips held out are trained on.
        if self.validation != "held out":
            split = split.validated_by_test()
        known = DATASETS.get(clips.dataset)
        if known and known.num_splits and self.strategy in ("group", "random"):
            chosen = f" --list 1 to {known.num_splits}" if known.num_splits > 1 else ""
            notes.append(f"{clips.dataset} has an official split: --split official{chosen}.")
        targets = clips.labels if clips.label_matrix is None else clips.label_matrix
        if untrained := untrained_classes(split, targets):
            names = ", ".join(clips.class_names[label] for label in untrained)
            notes.append(
                f"Training has no clip of {names}: those that are validated or tested cannot be "
                "told right. Too few groups have them; add some, or leave the class out."
            )
        return split, notes

    def _as_listed(self, sources: Sequence[str]) -> tuple[Split, list[str]]:
        """Split as a list says; a missing test or validation part is replaced by the other one.

        Returns:
            The split, and notes for the reader of the report.
        """
        videos = self.arguments.videos
        if videos is None and self.arguments.shards is None:
            videos = Path(self.dataset.default_videos_dir)
        if videos is None or not videos.exists():
            raise InputError("--split listed needs the list: --videos LIST.csv, or Epic Kitchens.")
        split = split_by_subsets(read_subsets(videos), sources)
        notes = _shared_videos(split, sources)
        missing = (
            "test" if not len(split.test) else "validation" if not len(split.validation) else ""
        )
        if not missing:
            return split, notes
        there = split.test if missing == "validation" else split.validation
        if not len(there):
            raise InputError(f"{videos} must have clips of the part validation or test.")
        notes.append(
            f"{videos} has no clips of the part {missing}: {len(there)} clips both validate and "
            "are tested, so that the choice of the best epoch flatters the test."
        )
        return Split(split.train, validation=there, test=there), notes


def _shared_videos(split: Split, sources: Sequence[str]) -> list[str]:
    """Return a note if test clips come from videos that training sees, else nothing.

    Time ranges of one video look alike, whatever the list says about groups.
    """
    # A source is the video's name, followed by " [1.00-2.00]" for a time range of it.
    videos = [source.rpartition(" [")[0] or source for source in sources]
    trained = {videos[i] for i in split.train}
    number = sum(videos[i] in trained for i in split.test)
    if not number:
        return []
    return [
        f"{number} of {len(split.test)} test clips are stretches of videos that training sees too: "
        "their accuracy says little about new videos."
    ]
