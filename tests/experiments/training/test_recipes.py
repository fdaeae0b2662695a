"""Overrides of a recipe: parsed, checked, never silently dropped."""

from typing import get_args

import keras
import numpy as np
import pytest

from common.errors import InputError
from experiments.epic_kitchens.models import build_classifier
from experiments.epic_kitchens.recipes import EpicKitchensArguments
from experiments.training.optimizers import build_optimizer
from experiments.training.recipes import (
    PAPER,
    RECIPES,
    TUNED,
    RecipeName,
    on_features,
    require_no_fine_tuning,
    require_unchanged_pixels,
)
from experiments.training.recurrent_models import Formats, build_model
from experiments.ucf101.recipes import recipe_for


def test_values_are_read_as_json_or_text():
    changed = TUNED.override(["inputs=raw", "clip_norm=null", "epochs=3", "tt_output_shape=[2,8]"])
    assert (changed.inputs, changed.clip_norm, changed.epochs) == ("raw", None, 3)
    assert changed.tt_output_shape == (2, 8)
    assert changed.learning_rate == TUNED.learning_rate


@pytest.mark.parametrize("change", ["inputz=raw", "inputs", "name=x", "=3"])
def test_an_unknown_name_is_refused(change):
    with pytest.raises(ValueError, match="--set takes NAME=VALUE"):
        PAPER.override([change])


@pytest.mark.parametrize("change", ["inputs=3", "epochs=many", "learning_rate=true", "scene=1"])
def test_a_value_of_another_kind_is_refused(change):
    with pytest.raises(ValueError, match="another kind"):
        PAPER.override([change])


@pytest.mark.parametrize(
    "change", ["tt_output_shape=3", "tt_output_shape=[2.5]", "epochs=[1]", "clip_norm=[1,2]"]
)
def test_lists_are_only_taken_for_lists(change):
    with pytest.raises(ValueError, match="another kind"):
        PAPER.override([change])


@pytest.mark.parametrize("change", ["frame_size=[32,24]", "short_sides=[40,50]"])
def test_an_optional_size_takes_a_size(change):
    recipe = EpicKitchensArguments(
        shards="anywhere", recipe="original", set=(change,)
    ).made_recipe()
    name, _, value = change.partition("=")
    assert list(getattr(recipe, name)) == [int(side) for side in value[1:-1].split(",")]


def test_every_recipe_of_ucf11s_job_can_be_named():
    assert get_args(RecipeName) == tuple(RECIPES)
    assert all(recipe.name == name for name, recipe in RECIPES.items())


@pytest.mark.parametrize(
    ("name", "cell", "num_weights"),
    [
        ("paper", "gru", 3232),
        ("paper", "lstm", 3360),
        ("paper-hollywood2", "gru", 2944),
        ("paper-hollywood2", "lstm", 3104),
        ("paper-youtube-celebrities", "gru", 3328),
        ("paper-youtube-celebrities", "lstm", 3392),
        ("paper-hmdb51", "gru", 3328),
        ("paper-hmdb51", "lstm", 3392),
    ],
)
def test_published_kernels_have_the_published_numbers_of_weights(name, cell, num_weights):
    """Red when a recipe has other modes, or frames of another size, than the paper's table."""
    recipe = RECIPES[name]
    width, height = recipe.frame_size or (160, 120)
    model = build_model(
        recipe,
        (height, width, 3),
        12,
        cell=cell,
        formats=Formats(),
        policy="float32",
        seed=0,
        several_labels=name == "paper-hollywood2",
    )
    assert model.get_layer(cell).rnn.num_kernel_params == num_weights


def test_published_settings_of_other_data_sets():
    """Learning rate, batch, epochs, frames, stride and dropout, by the published scripts."""
    found = {
        name: (r.learning_rate, r.batch_size, r.epochs, r.maxlen, r.stride, r.head_dropout)
        for name, r in RECIPES.items()
        if name.startswith("paper-")
    }
    assert found == {
        "paper-hollywood2": (1e-3, 32, 501, 1496, None, 0.0),
        "paper-youtube-celebrities": (1e-3, 16, 101, 85, None, 0.0),
        "paper-hmdb51": (1e-4, 16, 401, 90, 3, 0.25),
    }


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_has_a_head_on_features(name):
    """Red if a recipe's pictures, or their changes, are asked of a network's features."""
    recipe = on_features(RECIPES[name])
    require_no_fine_tuning(recipe)
    require_unchanged_pixels(recipe)
    assert (recipe.stride, recipe.frame_size, recipe.tt_input_shape) == (None, None, None)


def build_of(recipe, frame_shape, cell="gru"):
    return build_model(
        RECIPES[recipe], frame_shape, 4, cell=cell, formats=Formats(), policy="float32", seed=0
    )


@pytest.mark.parametrize(
    ("recipe", "frame_shape", "message"),
    [
        ("paper-hmdb51", (12, 16, 3), "with the product 576"),
        ("small", (48, 64, 3), "divide half the frame's width and height, 32 and 24"),
    ],
)
def test_modes_and_cells_that_do_not_fit_the_frames_are_refused(recipe, frame_shape, message):
    with pytest.raises(InputError, match=message):
        build_of(recipe, frame_shape)


@pytest.mark.parametrize("cell", ["gru", "mlp"])
def test_a_small_network_sees_cells(cell):
    """Red when a kind of network gets the pixels that the recipe replaces by cells."""
    model = build_of("small", (120, 160, 3), cell)
    assert model.input["frames"].shape[1:] == (120, 160, 3)
    assert model.get_layer("gradient_cells").output.shape[1:] == (6, 10, 12)


def adam_step(gradient, rate, epsilon):
    """The first step of Kingma and Ba's Adam, as Keras 2 wrote it."""
    mean, square = 0.1 * gradient, 0.001 * gradient**2
    return -rate * np.sqrt(1 - 0.999) / (1 - 0.9) * mean / (np.sqrt(square) + epsilon)


ORIGINALS = {
    "tt_rnn": PAPER,
    **{name: recipe_for("original", name, varlen=False) for name in ("conv3d", "crnn")},
    "varlen": recipe_for("original", "resnet-crnn", varlen=True),
}


@pytest.mark.parametrize("name", ORIGINALS)
def test_the_originals_epsilon(name):
    """Of Keras 2 and of torch, 1e-8. Red for Keras 3's 1e-7, with which small gradients move
    weights by a fifth of this."""
    recipe = ORIGINALS[name]
    variable = keras.Variable(np.zeros(2, np.float32))
    build_optimizer(recipe, 10).apply([np.array([1e-7, -2e-7], np.float32)], [variable])
    wanted = adam_step(np.array([1e-7, -2e-7]), recipe.learning_rate, 1e-8)
    np.testing.assert_allclose(np.asarray(variable), wanted, rtol=1e-4)


def test_the_original_timesformers_epsilon():
    arguments = EpicKitchensArguments(shards="anywhere", recipe="original", size="small")
    classifier = build_classifier(arguments, arguments.made_recipe(), 2, num_train_clips=1)
    assert classifier.optimizer.epsilon == 1e-8
    assert build_optimizer(TUNED, 10).epsilon == 1e-7  # recorded results are of this
