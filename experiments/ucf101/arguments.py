"""Flags of the UCF101 job, and the recipe that they make."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from common.errors import InputError
from experiments.clips.arguments import ClipArguments, Strategy, takes_demo
from experiments.runs.run import require_fold
from experiments.ucf101.recipes import ModelName, Recipe, recipe_for, reduced
from preprocess.sources.catalog import UCF101

MODULE = "experiments.ucf101"
RANDOM_WEIGHTS = "random"


@dataclass(frozen=True, kw_only=True)
class Ucf101Arguments(ClipArguments):
    """Train and evaluate a model on UCF101's videos, or any others."""

    model: ModelName = "crnn"
    """conv3d: 3D convolutions; crnn: convolutions of each frame, then an LSTM; resnet-crnn: a
    frozen ResNet's features, computed once, then an LSTM."""
    varlen: bool = False
    """Clips of their own lengths in place of one; not for conv3d."""
    split: Strategy = "group"
    """group: the clips of a scene stay together; random: over clips, as published; official: the
    data set's own train and test lists; listed: by the column part of a list."""
    list: Literal[1, 2, 3] = 1
    """With official: which pair of lists."""
    lists: Path = Path(UCF101.default_lists_dir or "")
    """Folder of the official lists, trainlist01.txt and so on."""
    recipe: Literal["original", "tuned"] = "tuned"
    """original: as published; tuned: ours."""
    head: Literal["dense", "gap"] | None = None
    """Of conv3d; gap does without the layer of 320 million weights."""
    depth: Literal[18, 34, 50, 101, 152] | None = None
    """Of the ResNet; by default 152, on the built-in set 18."""
    weights: str | None = None
    """Of the ResNet: a file that python -m weights convert wrote, or torchvision's own (.pth,
    .safetensors); or random, for trials."""
    distribute: Literal["workers", "gpus"] | None = None
    """workers: the machines of the variable TF_CONFIG share each step, with --out for all; gpus:
    those of this machine do. See docs/cluster.md."""

    @property
    def on_demo(self) -> bool:
        """Whether the built-in set is used."""
        return takes_demo(UCF101, videos=self.videos, shards=self.shards)

    @property
    def num_folds(self) -> int:
        """Number of folds of the split; the original tests a quarter of the clips."""
        return 4 if self.split == "random" and self.recipe == "original" else 5

    @property
    def resnet_depth(self) -> int:
        """Depth of the ResNet, by default 152, or 18 on the built-in set."""
        return self.depth or (18 if self.on_demo else 152)

    def check(self) -> None:
        """Raise UserError for impossible flags, before anything is read."""
        self.check_common()
        if self.split in ("group", "random"):
            require_fold(self.fold, self.num_folds)
        is_resnet = self.model == "resnet-crnn"
        if not is_resnet and (self.depth or self.weights):
            raise InputError("--depth and --weights are resnet-crnn's. Leave them out.")
        if self.head and self.model != "conv3d":
            raise InputError("--head is conv3d's. Leave it out.")
        if is_resnet and self.weights is None and not self.on_demo:
            raise InputError(
                "resnet-crnn needs a trained ResNet, whose features it classifies: --weights FILE. "
                "torchvision's resnet152-394f9c45.pth from https://download.pytorch.org/models/ is "
                "such a file; --weights random is for trials only."
            )

    def plain_recipe(self) -> Recipe:
        """Return the recipe without the flags that override it."""
        recipe = recipe_for(self.recipe, self.model, varlen=self.varlen)
        return reduced(recipe, self.model) if self.on_demo else recipe

    def made_recipe(self) -> Recipe:
        """Return the recipe with the flags that override it.

        Raises:
            ValueError, PreprocessError: if a flag does not fit.
        """
        recipe = self.overridden(self.plain_recipe(), {"head": self.head})
        if self.model == "conv3d" and recipe.grey and recipe.channels == 3:
            raise InputError(
                "channels=3 needs frames in colour, and the recipe stores grey ones. Add --set "
                "grey=false."
            )
        # Stored features are those of one crop of unchanged frames; only the choice of frames can
        # still be drawn.
        moved = recipe.mirror or recipe.largest_zoom > 1 or recipe.contrast or recipe.brightness
        if self.model == "resnet-crnn" and moved:
            raise InputError(
                "resnet-crnn's features are computed once: mirror, largest_zoom, contrast and "
                "brightness cannot change them. Leave these as they are."
            )
        return recipe
