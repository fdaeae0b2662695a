"""Flags of `python -m experiments.epic_kitchens train`, and the recipe that they make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.errors import InputError, did_you_mean
from experiments.clips.arguments import ClipArguments, takes_demo
from experiments.epic_kitchens.recipes import RECIPES, SIZES, Recipe, SizeName, for_demo, sized
from experiments.runs.run import require_fold
from preprocess.sources.catalog import Dataset

MODULE = "experiments.epic_kitchens"
DATASET = Dataset(
    name="epic_kitchens",
    title="a small subset of Epic Kitchens, as fran6co/epic_kitchens lays it out",
    class_names=(),
    num_clips=0,
    layout="train/P01/P01_09/frame_0000000036.jpg, with train_action_classes.csv",
    homepage="https://github.com/fran6co/epic_kitchens",
    default_videos_dir="data/epic_kitchens",
)


@dataclass(frozen=True, kw_only=True)
class EpicKitchensArguments(ClipArguments):
    """Fine-tune a TimeSformer on clips of a list, of Epic Kitchens, or of a folder of videos."""

    size: SizeName | None = None
    """base: 8 frames of 224x224; hr: 16 of 448x448; large: 96 of 224x224; small: 16 of 64x64, for
    training from nothing. By default base, on the built-in set small."""
    attention: Literal["divided", "joint", "space"] = "divided"
    """Over time, then over space; over both at once; over each frame alone."""
    weights: Path | None = None
    """To begin with: of a TimeSformer, the original's .pyth or Hugging Face's .safetensors, or of a
    plain ViT. A head of other classes starts anew."""
    freeze: str = "none"
    """What stays as it is: none; head, all but the head; or a number: so many blocks, and the
    embedding before them."""
    split: Literal["group", "random", "listed"] | None = None
    """listed: by the parts of the list, as Epic Kitchens has them; group: clips of a video stay
    together; random: over clips. By default listed for a list and Epic Kitchens, else group."""
    folds: int | None = None
    """Train and test so many folds in turn, and print mean and spread."""
    recipe: Literal["original", "tuned"] = "tuned"
    """original: as published; tuned: ours."""
    mixup: float | None = None
    """Alpha of mixup; by default the recipe's."""
    find_rate: bool = False
    """Try rising learning rates instead of training: prints the best, and draws rate_finder.png."""

    @property
    def on_demo(self) -> bool:
        """Whether the built-in set is used."""
        return takes_demo(DATASET, videos=self.videos, shards=self.shards)

    @property
    def num_folds(self) -> int:
        """Number of folds of the split."""
        return self.folds or 5

    @property
    def size_name(self) -> SizeName:
        """Name of the model's size, by default base, or small on the built-in set."""
        return self.size or ("small" if self.on_demo else "base")

    @property
    def frozen(self) -> Literal["none", "head"] | int:
        """Value of --freeze as `experiments.training.finetuning.freeze` takes it."""
        if self.freeze in ("none", "head"):
            return self.freeze  # type: ignore[return-value]
        if self.freeze.isdecimal():
            return int(self.freeze)
        message = f"--freeze must be none, head or a number of blocks. Received {self.freeze!r}."
        raise InputError(f"{message} {did_you_mean(self.freeze, ['none', 'head'])}".strip())

    def check(self) -> None:
        """Raise UserError for impossible flags, before anything is read."""
        self.check_common()
        self.frozen  # noqa: B018 - is read
        if self.folds is not None and self.folds < 2:
            raise InputError(f"--folds must be at least 2. Received {self.folds}.")
        if self.folds is not None and self.find_rate:
            raise InputError(
                "--folds trains on each fold, and --find-rate tries rates on one. Leave one of "
                "them out."
            )
        if self.folds is not None and self.split == "listed":
            raise InputError(
                "--folds deals the clips anew, and --split listed keeps the parts of the list. "
                "Leave one of them out."
            )
        if self.split != "listed":
            require_fold(self.fold, self.num_folds)
        if self.weights is not None and not self.weights.is_file():
            raise InputError(f"--weights must be a file. Received {self.weights}.")
        depth = SIZES[self.size_name].depth
        if isinstance(self.frozen, int) and self.frozen > depth:
            raise InputError(
                f"--freeze must be at most {depth}, the blocks of a TimeSformer of this size. "
                f"Received {self.frozen}."
            )
        if self.frozen != "none" and self.weights is None:
            raise InputError(
                "--freeze keeps weights that were learned elsewhere: give --weights too."
            )

    def plain_recipe(self) -> Recipe:
        """Return the recipe without the flags that override it."""
        recipe = RECIPES[self.recipe]
        return for_demo(recipe) if self.on_demo else sized(recipe, self.size_name)

    def made_recipe(self) -> Recipe:
        """Return the recipe with the flags that override it.

        Raises:
            ValueError, PreprocessError: if a flag does not fit.
        """
        recipe = self.overridden(self.plain_recipe(), {"mixup": self.mixup})
        side, patch = recipe.crop_size[0], SIZES[self.size_name].patch_size
        # Frames are cut into square patches that must cover them.
        if recipe.crop_size != (side, side) or side % patch:
            raise InputError(
                f"crop_size must be square for TimeSformer, and a multiple of {patch}. Received "
                f"{recipe.crop_size}."
            )
        return recipe
