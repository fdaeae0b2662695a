"""Flags of the job of recurrent networks on pixels or frozen features, and what they must satisfy.

`experiments.ucf11` runs it, and `experiments.ucf101` with --features; `experiments.crossval` checks
the flags of many runs before the first one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from common.command_line import parse_arguments
from common.errors import InputError
from experiments.clips.frozen_networks import NUM_BLOCKS, require_network
from experiments.clips.recipe import Strategy, recipe_name
from experiments.process import runtime
from experiments.runs.run import (
    check_run,
    require_fold,
    require_mlflow,
    require_positive,
    require_records,
    require_seed,
)
from experiments.training.recipes import (
    RECIPES,
    TUNED,
    Recipe,
    RecipeName,
    fine_tuning,
    on_features,
    require_no_fine_tuning,
    require_unchanged_pixels,
)
from experiments.training.tasks import Task, read_task
from preprocess.shards.settings import FrameSettings
from preprocess.sources.catalog import UCF11, Dataset

if TYPE_CHECKING:
    from experiments.clips.subsets import Subsets
    from preprocess.shards.reader import Shards

MODULE = "experiments.ucf11"
HELP = """Train and evaluate a recurrent network on the raw pixels of UCF11's videos.

`python -m experiments.ucf11 predict runs/NAME VIDEO` says what videos show; --help after predict
tells more.
"""
NUM_FOLDS = 5
# Short names of `ttrnn.formats.registry`, which would load Keras, and a plain product of two
# matrices, the baseline of all.
FormatName = Literal["tt", "tr", "bt", "tucker", "cp", "kcp", "ht", "low-rank", "dense"]
JointFormatName = Literal["tt", "tr", "bt", "tucker", "cp", "kcp", "ht", "low-rank"]
# Larger than the 224x224 that networks of ImageNet were trained on: on 96 clips of UCF101 at
# 320x240, their features tell apart more (docs/log.md).
_FEATURE_SIZE = (448, 336)


@dataclass(frozen=True)
class Ucf11Arguments:
    """Train and evaluate a recurrent network on the raw pixels of UCF11's videos."""

    module: ClassVar[str] = MODULE
    dataset: ClassVar[Dataset] = UCF11

    tt: bool = True
    """Tensor-train input kernel; --no-tt for the dense one."""
    format: FormatName | None = None
    """Format of the input kernel, in place of --tt: a tensor ring, block terms, and so on; low-rank
    is a product of two matrices."""
    recurrent_format: FormatName | None = None
    """Format of the recurrent matrix; by default it is dense."""
    joint_format: JointFormatName | None = None
    """In place of both: format of the one matrix of frame and state, [x, h]. Its modes are
    chosen."""
    rank: int | None = None
    """Rank of these formats; by default the largest with no more weights than the recipe's tensor
    train has in that place."""
    cell: Literal["gru", "lstm", "rnn", "mlp", "mean"] = "gru"
    """Kind of recurrent layer; mlp: a layer of the mean over the frames in its place, the paper's
    TT-MLP as far as it is known; with --features also mean, a linear classifier of that mean."""
    features: str | None = None
    """Classify the features of a frozen network in place of pixels; they are computed once.
    efficientnet-lite0, mobilenetv2, resnet18 to resnet152, or a .keras file from frames to
    features."""
    frames: int = 8
    """With --features: frames of a clip, evenly spread over it."""
    size: tuple[int, int] | None = None
    """With --features: width and height to which whole frames are scaled for the network; 448 336
    by default."""
    unfreeze: int = 0
    """With --features of a mobile network: train its last blocks, this many, with the classifier,
    on the frames themselves."""
    weights: str | None = None
    """With --features: file of the network's weights, where none are installed; or random, for
    trials."""
    maxlen: int | None = None
    """Frames of a clip that are used at most: its first ones, after --stride; by default the
    recipe's, 450 of paper and tuned."""
    stride: int | None = None
    """Use every STRIDE-th frame of the videos; by default the recipe's, of most every frame of the
    shards."""
    videos: Path | None = None
    """Folder of videos, class/v_name_NN/v_name_NN_MM.mpg or class/clip.ext, or of a data set of
    docs/datasets.md; or a list, .csv."""
    shards: Path | None = None
    """Directory of extracted frames; made from --videos where it is not there yet."""
    classes: tuple[str, ...] | None = None
    """Only these classes."""
    split: Strategy = "group"
    """group: the clips of a scene stay together; random: over clips, as published; official: that
    of the data set; listed: by the column part of a list."""
    fold: int = 0
    """With group or random: which of the 5 folds is tested, 0 to 4."""
    list: int = 1
    """With official: which of the data set's splits is tested, from 1."""
    lists: Path | None = None
    """With official: folder of the lists, if the data set has some; by default its usual place."""
    recipe: RecipeName = "tuned"
    """paper: as published for UCF11; paper-NAME: for that data set, see docs/datasets.md; tuned:
    ours; small: ours for a hundred clips or so."""
    epochs: int | None = None
    """Passes over the training clips; by default the recipe's."""
    batch_size: int | None = None
    """Clips a step; by default the recipe's."""
    lr: float | None = None
    """Learning rate; by default the recipe's."""
    set: tuple[str, ...] = ()
    """Changes to the recipe, NAME=VALUE, such as inputs=raw; experiments/training/recipes.py has
    the names."""
    seed: int = 0
    """Of the split, the initial weights, the order of clips and the dropout."""
    threads: str = "auto"
    """TensorFlow's thread pools: INTRA,INTER such as 18,36; or auto: what python -m
    experiments.threads has found best on this machine, else a default for its cores."""
    policy: runtime.Policy = "auto"
    """Arithmetic of the layers; auto: mixed_bfloat16 on processors on which it is faster."""
    jobs: int | None = None
    """Worker processes that read videos; by default one a core."""
    deterministic: bool = True
    """The same seed, threads and cores give the same weights, bit for bit. Slower on a GPU."""
    distribute: Literal["workers", "gpus"] | None = None
    """workers: the machines of the variable TF_CONFIG share each step, with --out for all; gpus:
    those of this machine do. See docs/launch.md."""
    scheduler: str | None = None
    """tcp://HOST:8786 of a Dask cluster whose workers read the videos; see docs/cluster.md."""
    allow_failures: bool = False
    """Go on without the clips that cannot be read."""
    out: Path | None = None
    """The run's directory; by default runs/ and a name made of the settings."""
    resume: bool = False
    """Continue a run that was stopped, to the same numbers."""
    record: bool = False
    """Append the result to experiments/results.csv."""
    tensorboard: bool = False
    """Write events for TensorBoard, in the run's directory: tensorboard --logdir runs."""
    mlflow: bool = False
    """Keep settings, epochs and report in MLflow's store as well: runs/mlflow.db, or what
    MLFLOW_TRACKING_URI names."""

    @property
    def test_part(self) -> int:
        """Number of the fold or official split that is tested, from 0."""
        return self.list - 1 if self.split == "official" else self.fold


def parse(args: Sequence[str]) -> Ucf11Arguments:
    """Parse the flags of a training run; exits by SystemExit for --help and for wrong flags."""
    return parse_arguments(
        Ucf11Arguments,
        prog=f"python -m {MODULE}",
        description=HELP,
        args=args,
        commands=["predict"],
    )


def check_arguments(
    arguments: Ucf11Arguments,
) -> tuple[Ucf11Arguments, Recipe, Task, Subsets]:
    """Check all flags before extraction, which may take hours.

    Returns:
        The flags with the policy that `auto` stands for, the recipe, this process's place among the
        workers, and the rule of the split.

    Raises:
        PreprocessError, RunError, ValueError: as `run` does.
    """
    require_positive(
        arguments, ("maxlen", "stride", "frames", "epochs", "batch_size", "lr", "jobs", "rank")
    )
    require_fold(arguments.fold, NUM_FOLDS)
    require_seed(arguments.seed)
    require_records(arguments.record)
    require_mlflow(arguments.mlflow)
    recipe = _recipe(arguments)
    _check_formats(arguments)
    _check_features(arguments, recipe)
    runtime.choose_threads(arguments.threads)
    arguments = replace(
        arguments,
        policy=runtime.choose_policy(arguments.policy),
        stride=arguments.stride or recipe.stride,
    )
    task = read_task(arguments.distribute, arguments.out)

    # Imported once the plain checks have passed, so that a wrong flag is answered at once.
    from experiments.clips.subsets import Subsets

    subsets = Subsets(
        arguments.dataset,
        arguments.split,
        arguments,
        recipe.validation,
        NUM_FOLDS,
        lists=(arguments.lists, arguments.list),
        takes_several=True,
    )
    check_run(
        run_name(arguments, subsets.check()),
        arguments,
        {**asdict(arguments), **asdict(recipe)},
        # Settled only when the shards are open.
        unknown=["shards", "stride"],
        is_chief=task.is_chief,
    )
    return arguments, recipe, task, subsets


def plain_recipe(arguments: Ucf11Arguments) -> Recipe:
    """Recipe without the flags that override it."""
    recipe = RECIPES[arguments.recipe]
    if arguments.features is None:
        return recipe
    return fine_tuning(recipe) if arguments.unfreeze else on_features(recipe)


def _check_formats(arguments: Ucf11Arguments) -> None:
    """Raise InputError for formats that contradict each other or have nothing to replace."""
    if not arguments.tt and arguments.format not in (None, "dense"):
        raise InputError(
            f"--no-tt asks for a dense input kernel. Received --format {arguments.format}, too; "
            "leave one of them out."
        )
    separate = arguments.format is not None or arguments.recurrent_format is not None
    is_joint = arguments.joint_format is not None
    if is_joint and (separate or not arguments.tt):
        raise InputError(
            "--joint-format is that of input kernel and recurrent matrix in one. Received "
            "--format, --recurrent-format or --no-tt, too; leave it or them out."
        )
    if arguments.cell == "mean" and (separate or is_joint):
        raise InputError(
            "--format, --recurrent-format and --joint-format are of a recurrent layer. Received "
            "--cell mean; choose gru, lstm or rnn."
        )
    if arguments.cell == "mlp" and (is_joint or arguments.recurrent_format is not None):
        raise InputError(
            "--recurrent-format and --joint-format are of a recurrent layer. Received --cell mlp, "
            "which has an input kernel alone; give --format, or choose gru, lstm or rnn."
        )
    if arguments.rank is not None and not ((separate or is_joint) and is_compressed(arguments)):
        raise InputError(
            "--rank is that of --format, --recurrent-format and --joint-format. Received it "
            "without a format that has ranks; name one, or set the recipe's: --set tt_rank=8."
        )


def is_compressed(arguments: Ucf11Arguments) -> bool:
    """Whether a matrix is a network of cores; the mean over the frames has none to replace."""
    formats = (kernel_format(arguments), arguments.recurrent_format or "dense")
    return arguments.cell != "mean" and formats != ("dense", "dense")


def kernel_format(arguments: Ucf11Arguments) -> FormatName:
    """Format of the input kernel, by --format or by --tt."""
    return arguments.format or ("tt" if arguments.tt else "dense")


def _check_features(arguments: Ucf11Arguments, recipe: Recipe) -> None:
    """Raise UserError for a frozen network that is not there, or flags that do not go with it."""
    if arguments.features is None:
        for flag, given in (
            ("--cell mean", arguments.cell == "mean"),
            ("--weights", arguments.weights is not None),
            ("--frames", arguments.frames != Ucf11Arguments.frames),
            ("--size", arguments.size is not None),
            ("--unfreeze", arguments.unfreeze != 0),
        ):
            if given:
                raise InputError(f"{flag} needs --features NETWORK. Add it, or leave {flag} out.")
        require_no_fine_tuning(recipe)
        return
    for flag, given, reason in (
        (
            "--maxlen",
            arguments.maxlen not in (None, TUNED.maxlen),
            "--frames are spread over a clip",
        ),
        ("--stride", arguments.stride is not None, "--frames are spread over a clip"),
        ("--distribute", arguments.distribute is not None, "their classifier is small"),
    ):
        if given:
            raise InputError(f"{flag} does not go with --features: {reason}. Leave {flag} out.")
    if min(feature_size(arguments)) < 32:
        raise InputError(
            f"--size must be at least 32 pixels each way. Received {arguments.size}; networks of "
            "ImageNet halve a picture five times."
        )
    _check_unfreeze(arguments, recipe)
    require_network(arguments.features, arguments.weights)


def _check_unfreeze(arguments: Ucf11Arguments, recipe: Recipe) -> None:
    """Raise InputError for blocks that cannot be trained, or changes that nothing would see."""
    num_blocks = NUM_BLOCKS.get(arguments.features or "", 0)
    if not 0 <= arguments.unfreeze <= num_blocks:
        known = ", ".join(f"{name} {number}" for name, number in NUM_BLOCKS.items())
        raise InputError(
            f"--unfreeze must be a number of the network's last blocks, at most {num_blocks} of "
            f"{arguments.features}. Received {arguments.unfreeze}; networks with blocks: {known}."
        )
    if arguments.unfreeze:
        require_unchanged_pixels(recipe, but=("contrast", "brightness", "mirror"))
    else:
        require_no_fine_tuning(recipe)
        require_unchanged_pixels(recipe)


def _recipe(arguments: Ucf11Arguments) -> Recipe:
    """Recipe with the flags that override it."""
    return plain_recipe(arguments).override(
        arguments.set,
        maxlen=arguments.maxlen,
        stride=arguments.stride,
        epochs=arguments.epochs,
        batch_size=arguments.batch_size,
        learning_rate=arguments.lr,
    )


def frame_settings(arguments: Ucf11Arguments, recipe: Recipe) -> FrameSettings:
    """Settings of an extraction: all frames at the recipe's size, or fewer and larger ones."""
    if arguments.features is None:
        return FrameSettings(recipe.frame_size) if recipe.frame_size else FrameSettings()
    # The shortest clips of UCF101, 29 frames, have 8 to choose from.
    return FrameSettings(feature_size(arguments), stride=4)


def feature_size(arguments: Ucf11Arguments) -> tuple[int, int]:
    """Width and height of the frames that a frozen network sees."""
    return arguments.size or _FEATURE_SIZE


def stored_stride(arguments: Ucf11Arguments, shards: Shards) -> int:
    """Stride between the frames that are used, counted in frames of the videos.

    The shards may hold only every n-th frame already.

    Raises:
        InputError: if the shards have not kept those frames.
    """
    stride = arguments.stride or shards.stride
    if stride % shards.stride:
        raise InputError(
            f"--stride must be a multiple of {shards.stride}, for {shards.folder} holds every "
            f"{shards.stride}. frame. Received {stride}; extract again with another stride."
        )
    return stride


def model_name(arguments: Ucf11Arguments) -> str:
    """Name of the recurrent layer, with the format of its input kernel before it, such as `tt-`.

    The name of a frozen network goes before it, and the format of a recurrent matrix behind it.
    That of a joint matrix goes before it, too, such as `joint-tt-`.
    """
    name: str = arguments.cell
    if arguments.joint_format is not None:
        name = f"joint-{arguments.joint_format}-{name}"
    elif arguments.cell != "mean":
        chosen = kernel_format(arguments)
        name = name if chosen == "dense" else f"{chosen}-{name}"
        if arguments.recurrent_format not in (None, "dense"):
            name = f"{name}-{arguments.recurrent_format}"
    if arguments.features is None:
        return name
    unfrozen = f"-last{arguments.unfreeze}" if arguments.unfreeze else ""
    return f"{Path(arguments.features).stem}{unfrozen}-{name}"


def run_name(arguments: Ucf11Arguments, dataset: str) -> str:
    """Name of a run, made of its settings."""
    # Fold and seed come last, so that a setting's runs stand together in a listing.
    recipe = recipe_name(arguments)
    part = "list" if arguments.split == "official" else "fold"
    number = arguments.test_part + (part == "list")  # lists are counted from 1
    job = arguments.module.removeprefix("experiments.")
    return (
        f"{job}-{dataset}-{model_name(arguments)}-{recipe}-{arguments.split}-{part}{number}"
        f"-seed{arguments.seed}"
    )
