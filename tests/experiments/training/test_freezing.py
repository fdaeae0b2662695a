"""What is frozen stays, to the last bit; what is not is trained."""

import keras
import numpy as np
import pytest

from experiments.training.finetuning import Trained, freeze, layer_groups
from experiments.training.loop import Classifier


def moved(model, clips, steps=2):
    """The layers, in order, whose weights a few steps change; all of a moved layer must move."""
    before = {weight.path: weight.numpy() for weight in model.weights}
    optimizer = keras.optimizers.AdamW(1e-2, weight_decay=0.1)
    trained = Classifier(model, optimizer)
    for _ in range(steps):
        trained.train_batch(*clips)
    changed = {w.path for w in model.weights if not np.array_equal(before[w.path], w.numpy())}
    layers = [layer for layer in model.layers if layer.weights]
    whole = [layer.name for layer in layers if {w.path for w in layer.weights} <= changed]
    some = [layer.name for layer in layers if {w.path for w in layer.weights} & changed]
    assert whole == some
    return whole


pytestmark = pytest.mark.usefixtures("uncompiled")
ALL = ["embed", "blocks_0", "blocks_1", "blocks_2", "norm", "head"]


@pytest.mark.parametrize(
    ("frozen", "trained"),
    [("none", ALL), ("head", ALL[-1:]), (0, ALL[1:]), (2, ALL[3:]), (3, ALL[4:])],
)
def test_what_is_frozen_stays(frozen, trained, small_model, clips):
    """Red when weight decay moves a frozen layer, or one too many or too few is frozen."""
    model = small_model(drop_path=0.5, dropout=0.1)
    counts = freeze(model, frozen)
    assert moved(model, clips) == trained
    layers = [model.get_layer(name) for name in trained]
    assert counts.trained == sum(w.numpy().size for layer in layers for w in layer.weights)
    assert counts.total == sum(weight.numpy().size for weight in model.weights)


def test_the_layers_of_a_mobile_networks_block_are_one_group():
    """Red when a layer of a block counts as a block, or is counted to a neighbour."""
    from ttrnn.models import build_efficientnet_lite

    stem, *blocks, top = layer_groups(build_efficientnet_lite(0, None, input_shape=(32, 32, 3)))
    assert [layer.name for layer in stem] == ["stem_conv", "stem_bn"]
    assert [layer.name for layer in top] == ["head_conv", "head_bn"]
    assert len(blocks) == 16
    assert all(
        layer.name.startswith(f"block_{number}_")
        for number, block in enumerate(blocks)
        for layer in block
    )


def test_the_last_choice_holds(small_model, clips):
    """Red when what was frozen before stays frozen."""
    model = small_model()
    freeze(model, "head")
    freeze(model, "none")
    assert moved(model, clips) == ALL


def test_what_is_trained_is_told():
    expected = "27 of 4,123 parameters are trained (0.7\N{NO-BREAK SPACE}%)"
    assert str(Trained(27, 4123)) == expected


@pytest.mark.parametrize("wrong", [-1, 4, "all"])
def test_blocks_that_there_are_not_are_refused(wrong, small_model):
    with pytest.raises(ValueError, match=r"from 0 to 3.*Received"):
        freeze(small_model(), wrong)


def test_dropout_goes_on_in_frozen_layers(small_model, clips):
    """Red when frozen layers are run as in evaluation: the docstring says otherwise."""
    model = small_model(dropout=0.5)
    freeze(model, 3)
    features = keras.Model(model.inputs, model.get_layer("blocks_2").output)
    one, other = (features(clips[0], training=True).numpy() for _ in range(2))
    assert not np.array_equal(one, other)


def test_a_model_without_blocks_has_a_group_a_layer(clips):
    """Red when layers without weights count, or those of a model in the model are not seen."""
    inner = keras.Sequential(
        [keras.Input((16, 16, 3)), keras.layers.Conv2D(4, 3), keras.layers.ReLU()], name="inner"
    )
    frames = keras.Input((2, 16, 16, 3), dtype="uint8")
    x = keras.layers.Rescaling(1 / 255)(frames[:, 0])
    x = keras.layers.GlobalAveragePooling2D()(inner(x))
    x = keras.layers.BatchNormalization(name="norm")(x)
    model = keras.Model(frames, keras.layers.Dense(3, "softmax", name="head")(x))
    names = [[layer.name for layer in group] for group in layer_groups(model)]
    assert names == [[inner.layers[0].name], ["norm"], ["head"]]
    freeze(model, "head")
    assert moved(model, clips) == ["head"]  # nor do the moving statistics
