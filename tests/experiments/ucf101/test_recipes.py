"""The recipes, and the flags that change them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from experiments.training.history import Epoch, History
from experiments.ucf101.recipes import Ucf101Arguments, recipe_for
from preprocess import PreprocessError

SHARDS = Path("anywhere")  # so that the demo's sizes are not taken


def made(**flags: Any) -> Any:
    arguments = Ucf101Arguments(shards=SHARDS, **flags)
    arguments.check()
    return arguments.made_recipe()


@pytest.mark.parametrize(
    ("model", "varlen", "expected"),
    [
        ("conv3d", False, (15, 30, 1e-4, (342, 256), 28, 1, 1)),
        ("crnn", False, (120, 30, 1e-4, (342, 256), 28, 1, 1)),
        ("resnet-crnn", False, (120, 40, 1e-3, (224, 224), 28, 1, 1)),
        ("resnet-crnn", True, (150, 120, 1e-3, (224, 224), 50, 2, 1)),
    ],
)
def test_the_original_values(model: Any, varlen: bool, expected: tuple) -> None:
    """Those of HHTseng/video-classification's four scripts."""
    recipe = recipe_for("original", model, varlen=varlen)
    found = (recipe.epochs, recipe.batch_size, recipe.learning_rate, recipe.crop_size)
    assert (*found, recipe.num_frames, recipe.stride, recipe.channels) == expected
    assert (recipe.validation, recipe.selection, recipe.views) == ("test", "best", "1x1")
    assert recipe.settings().max_frames == recipe.num_frames
    assert recipe.choice(varlen=varlen).tested(200, 0, 1).tolist() == list(range(recipe.num_frames))


def test_whole_clips_are_kept_where_they_are_seen() -> None:
    assert made(model="conv3d", recipe="original", views="10x1").settings().max_frames is None
    assert made(model="crnn").settings().max_frames is None


def test_flags_change_the_recipe() -> None:
    recipe = made(
        model="conv3d",
        epochs=3,
        batch_size=2,
        lr=0.5,
        head="gap",
        views="2x3",
        set=("dropout=0.7",),
    )
    found = (recipe.epochs, recipe.batch_size, recipe.learning_rate, recipe.head, recipe.dropout)
    assert found == (3, 2, 0.5, "gap", 0.7)
    assert (recipe.places.temporal, recipe.places.spatial) == (2, 3)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"model": "conv3d", "varlen": True}, "needs a recurrent model"),
        ({"model": "resnet-crnn"}, "needs a trained ResNet"),
        ({"model": "crnn", "weights": "x.pth"}, "are resnet-crnn's"),
        ({"model": "crnn", "depth": 18}, "are resnet-crnn's"),
        ({"model": "crnn", "head": "gap"}, "is conv3d's"),
        ({"model": "crnn", "epochs": 0}, "--epochs must be greater"),
        ({"model": "crnn", "views": "5"}, "views must be"),
        ({"model": "crnn", "set": ("crop_size=[400,100]",)}, "must fit"),
        ({"model": "crnn", "set": ("sampling=all",)}, "window, segments"),
        (
            {"model": "resnet-crnn", "weights": "random", "set": ("mirror=true",)},
            "computed once",
        ),
    ],
)
def test_flags_that_cannot_be_are_refused(flags: dict[str, Any], expected: str) -> None:
    with pytest.raises((ValueError, PreprocessError), match=expected):
        made(**flags)


def history(losses: list[float]) -> History:
    return History([Epoch(n + 1, 0, 0, 0, loss, 0, 0, 0, 0, 0, 0) for n, loss in enumerate(losses)])


def test_the_plateau_is_torchs() -> None:
    """Red when the rate falls an epoch early, or never again. torch counts as ours:
    ReduceLROnPlateau(patience=15) lowers the rate after the 16th epoch without a lower loss."""
    schedules = pytest.importorskip("experiments.training.history")
    rate = schedules.next_rate(recipe_for("original", "resnet-crnn", varlen=True))
    falling = [1 - n / 100 for n in range(10)]
    assert rate(history(falling)) == 1e-3
    flat = [*falling, *[falling[-1]] * 15]
    assert rate(history(flat)) == 1e-3
    assert rate(history([*flat, 1.0])) == pytest.approx(1e-4)
    assert rate(history([*flat, *[1.0] * 17])) == pytest.approx(1e-5)
    assert schedules.next_rate(recipe_for("original", "crnn", varlen=False)) is None


def test_patience_ends_training() -> None:
    schedules = pytest.importorskip("experiments.training.history")
    stop = schedules.stop(made(model="crnn", set=("patience=2",)))
    assert not stop(history([3, 2, 2.5]))
    assert stop(history([3, 2, 2.5, 2.6]))
    assert schedules.stop(recipe_for("original", "crnn", varlen=False)) is None
