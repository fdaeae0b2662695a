"""Find the clips of an experiment: shards, videos, a data set in its usual place, or the demo."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from common.formatting import percent
from experiments.clips.recipe import recipe_name, takes_demo
from experiments.process.command import typed_command
from experiments.process.recommendations import find_recommendation
from experiments.training.recipes import VideoRecipe
from preprocess import open_shards
from preprocess.errors import PreprocessError
from preprocess.extraction.commands import Extract
from preprocess.shards.reader import Shards
from preprocess.shards.settings import FrameSettings
from preprocess.sources.catalog import DEMO, Dataset, choose_classes
from preprocess.sources.clip_sets import ClipSet, choose_clip_set
from preprocess.sources.clips import Clip
from preprocess.sources.splits import Split, num_with_sibling
from preprocess.sources.synthetic import (
    CLIPS_PER_GROUP,
    GROUPS_PER_CLASS,
    clip_path,
    render_dataset,
)
from preprocess.system.machine import read_machine

DATA = Path("data")
# A split can be made of clips that are extracted, or of those that will be.
Clips = Shards | ClipSet


def open_dataset(
    dataset: Dataset,
    *,
    videos: Path | None,
    shards: Path | None,
    settings: FrameSettings = FrameSettings(),  # noqa: B008 - frozen
    classes: Sequence[str] | None = None,
    jobs: int | None = None,
    scheduler: str | None = None,
    allow_failures: bool = False,
) -> Shards:
    """Open the clips to work on; render and extract first what is missing.

    Args:
        dataset: data set to look for in its usual place if neither folder is named; if it is not
            there either, the built-in demo set takes its place, and a line says so.
        videos: a folder of videos, or None.
        shards: a directory of shards, or None; with `videos` too, it is brought up to date.
        settings: settings of the extraction; a directory given alone is opened as it is.
        classes: only these; None for all.
        jobs: worker processes; None for what `python -m experiments.threads` has found best, else
            one a core.
        scheduler: address of a Dask cluster that extracts instead.
        allow_failures: go on without the clips that cannot be read.

    Raises:
        PreprocessError: if a folder is missing or holds no clips, or clips cannot be read.
    """
    name = None
    if videos is None and shards is None:
        if takes_demo(dataset, videos=videos, shards=shards):
            _render_demo(dataset, jobs)
            dataset = DEMO
        videos, name = Path(dataset.default_videos_dir), dataset.name
        # A directory for each way to extract: a run with other settings never overwrites shards.
        shards = DATA / "shards" / f"{name}{_suffix(settings, classes)}"
    if videos is not None:
        shards = shards or _shards_of(videos, settings, classes)
        extract = Extract(
            videos,
            shards,
            settings.size,
            settings.stride,
            settings.max_frames,
            interpolation=settings.interpolation,
            grey=settings.grey,
            classes=None if classes is None else tuple(classes),
            dataset=name,
            scheduler=scheduler,
            allow_failures=allow_failures,
        )
        # Clips that are in the shards already are skipped.
        _extract(extract, jobs)
    assert shards is not None
    opened = open_shards(shards)
    return opened if classes is None else opened.of_classes(classes)


def clips_to_open(
    dataset: Dataset,
    *,
    videos: Path | None,
    shards: Path | None,
    classes: Sequence[str] | None = None,
) -> Clips:
    """List the clips that `open_dataset` will open, before any is rendered or extracted.

    A split of these clips equals that of the shards, unless clips turn out to be unreadable.

    Args:
        dataset, videos, shards, classes: those of `open_dataset`.

    Raises:
        PreprocessError: if a folder is missing or holds no clips, or a class has none.
    """
    if videos is None and shards is not None:
        opened = open_shards(shards)
        return opened if classes is None else opened.of_classes(classes)
    if videos is not None:
        return choose_clip_set(videos, classes=classes)
    if takes_demo(dataset, videos=videos, shards=shards):
        return _demo_clips(classes)
    return choose_clip_set(Path(dataset.default_videos_dir), dataset=dataset.name, classes=classes)


def _demo_clips(classes: Sequence[str] | None) -> ClipSet:
    """List the clips of the built-in set, which need not be rendered yet."""
    root = Path(DEMO.default_videos_dir)
    class_names = DEMO.class_names
    if classes is not None:
        class_names = choose_classes(classes, class_names)
    clips = []
    for class_name in class_names:
        for group in range(1, GROUPS_PER_CLASS + 1):
            for number in range(1, CLIPS_PER_GROUP + 1):
                path = clip_path(root, class_name, group, number)
                source = path.relative_to(root)
                clips.append(Clip(path, source.as_posix(), class_name, source.parent.as_posix()))
    return ClipSet(sorted(clips, key=lambda clip: clip.source), DEMO.name, class_names)


def _render_demo(missing: Dataset, jobs: int | None) -> None:
    """Render the built-in videos where they are missing, and say that the demo set is used."""
    # Loudly: a typo in a path must not turn into results on rendered clips.
    print(
        f"No {missing.name} videos given, and none in {missing.default_videos_dir}: running on the "
        "built-in DEMO set of rendered clips instead. Its scores say nothing about real video."
    )
    render_dataset(Path(DEMO.default_videos_dir), jobs=jobs)


def _shards_of(videos: Path, settings: FrameSettings, classes: Sequence[str] | None) -> Path:
    """Directory for the shards of a folder of videos, one for each way to extract it."""
    # The digest keeps folders apart that have the same name in different places.
    name = f"{videos.resolve().name}-{_digest(str(videos.resolve()))}"
    return DATA / "shards" / f"{name}{_suffix(settings, classes)}"


def _suffix(settings: FrameSettings, classes: Sequence[str] | None) -> str:
    """Suffix of a directory's name that states the settings that are not the defaults."""
    usual = FrameSettings()
    parts = []
    if settings.size != usual.size:
        parts.append("x".join(map(str, settings.size)))
    if settings.stride != usual.stride:
        parts.append(f"stride{settings.stride}")
    if settings.max_frames != usual.max_frames:
        parts.append(f"first{settings.max_frames}")
    if settings.interpolation != usual.interpolation:
        parts.append(settings.interpolation)
    if settings.grey:
        parts.append("grey")
    if classes is not None:
        parts.append(f"{len(classes)}classes-{_digest(','.join(sorted(classes)))}")
    return "".join(f"-{part}" for part in parts)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _extract(extract: Extract, jobs: int | None) -> None:
    """Run the command `python -m preprocess` in this process."""
    kept = None if jobs else find_recommendation("extract", read_machine())
    measured = kept.setting if kept else {"jobs": jobs}
    extract = replace(extract, **measured)
    # Shards record the command that would make them again.
    if replace(extract, command=extract.as_typed()).run():
        raise PreprocessError(
            f"Some clips of {extract.videos} could not be read: see "
            f"{extract.shards / 'failures.csv'}. Mend or remove them, or go on without them: "
            "--allow-failures."
        )


def result_fields(
    module: str,
    arguments: Any,
    recipe: VideoRecipe,
    shards: Shards,
    subsets: Split,
    **others: Any,
) -> dict[str, Any]:
    """Fields of a result that are known before training; `others` add to them or replace them."""
    return {
        "experiment": module.removeprefix("experiments."),
        "command": typed_command(module),
        "dataset": shards.dataset,
        "num_clips": len(shards),
        "num_classes": len(shards.class_names),
        "chance": _chance(shards, subsets),
        "num_test_clips": len(subsets.test),
        "num_test_clips_with_sibling": num_with_sibling(subsets, shards.groups),
        "split": arguments.split,
        "fold": arguments.fold,
        "seed": arguments.seed,
        "recipe": recipe_name(arguments, between=" "),
        "stride": shards.stride,
        "policy": arguments.policy,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        **others,
    }


def _chance(shards: Shards, split: Split) -> float:
    """Accuracy of a class taken at random; of several classes a clip, also a random ranking's."""
    if shards.label_matrix is None:
        return 1 / len(shards.class_names)
    return float(shards.label_matrix[split.test].mean())


def described(shards: Shards, split: Split) -> str:
    """Sentence about the subsets of a split, printed before training."""
    share = percent(num_with_sibling(split, shards.groups) / len(split.test))
    return (
        f"{shards.dataset}: {len(split.train)} clips to train on, {len(split.validation)} to "
        f"validate, {len(split.test)} to test, of which {share} have a sibling of their scene in "
        "training"
    )
