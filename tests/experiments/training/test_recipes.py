"""Overrides of a recipe: parsed, checked, never silently dropped."""

import keras
import numpy as np
import pytest

from experiments.epic_kitchens.models import build_classifier
from experiments.epic_kitchens.recipes import EpicKitchensArguments
from experiments.training.optimizers import build_optimizer
from experiments.training.recipes import PAPER, TUNED
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
