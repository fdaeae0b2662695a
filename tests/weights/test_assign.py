"""Arrays into models: every one in its place, or none."""

import keras
import numpy as np
import pytest

from tests.processes import REPOSITORY
from weights import WeightsError, assign_arrays, model_arrays, read_arrays

MOBILENET = REPOSITORY.parent / "shared/weights/mobilenet_v1_0.25_224_keras.npz"


def small_model():
    """Convolutions of both kinds, normalisation, a dropout with its own state, a nested model."""
    layers = keras.layers
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name="conv1")(inputs)
    x = layers.BatchNormalization(name="conv1_bn")(x)
    x = layers.DepthwiseConv2D(3, name="conv_dw")(x)
    x = layers.Dropout(0.5, name="dropout")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    inner = keras.Sequential([keras.Input((4,)), layers.Dense(5, name="hidden")], name="inner")
    outputs = layers.Dense(2, name="preds")(inner(x))
    return keras.Model(inputs, outputs, name="small")


def arrays_for(model):
    """Arrays that differ from each other, and from what the model has."""
    rng = np.random.default_rng(0)
    return {
        name: rng.uniform(0.5, 1, array.shape).astype("float32")
        for name, array in model_arrays(model).items()
    }


@pytest.fixture(scope="module")
def model():
    return small_model()


def test_names_are_layer_and_variable(model):
    assert {name: array.shape for name, array in model_arrays(model).items()} == {
        "conv1/kernel": (3, 3, 3, 4),
        "conv1/bias": (4,),
        "conv1_bn/gamma": (4,),
        "conv1_bn/beta": (4,),
        "conv1_bn/moving_mean": (4,),
        "conv1_bn/moving_variance": (4,),
        "conv_dw/kernel": (3, 3, 4, 1),
        "conv_dw/bias": (4,),
        "hidden/kernel": (4, 5),
        "hidden/bias": (5,),
        "preds/kernel": (5, 2),
        "preds/bias": (2,),
    }


def test_every_array_goes_to_its_place(model):
    """Red if two of one shape are exchanged: compared through the layers' own attributes."""
    arrays = arrays_for(model)
    assign_arrays(model, arrays)
    np.testing.assert_array_equal(model.get_layer("conv1").kernel, arrays["conv1/kernel"])
    normalisation = model.get_layer("conv1_bn")
    for part in ("gamma", "beta", "moving_mean", "moving_variance"):
        np.testing.assert_array_equal(getattr(normalisation, part), arrays[f"conv1_bn/{part}"])
    hidden = model.get_layer("inner").get_layer("hidden")
    np.testing.assert_array_equal(hidden.bias, arrays["hidden/bias"])
    for name, array in model_arrays(model).items():
        np.testing.assert_array_equal(array, arrays[name])


def test_keras_2_names_are_understood(model):
    arrays = arrays_for(model)
    arrays["conv_dw/depthwise_kernel"] = arrays.pop("conv_dw/kernel")
    assign_arrays(model, arrays)
    np.testing.assert_array_equal(
        model.get_layer("conv_dw").kernel, arrays["conv_dw/depthwise_kernel"]
    )
    with pytest.raises(WeightsError, match="conv_dw/kernel is there under two names"):
        assign_arrays(model, arrays | {"conv_dw/kernel": arrays["conv_dw/depthwise_kernel"]})


def test_a_separable_convolution_keeps_both_names():
    """Red if depthwise_kernel always becomes kernel."""
    layer = keras.layers.SeparableConv2D(4, 3, name="separable")
    model = keras.Sequential([keras.Input((8, 8, 3)), layer])
    assign_arrays(model, arrays_for(model))
    assert "separable/depthwise_kernel" in model_arrays(model)


def test_layers_in_layers_keep_their_parts_apart():
    """Forward and backward each have a kernel: red if names are cut to layer and variable."""
    layer = keras.layers.Bidirectional(keras.layers.GRU(3, name="gru"), name="both")
    model = keras.Sequential([keras.Input((4, 2)), layer])
    arrays = arrays_for(model)
    assert len(arrays) == 6
    assign_arrays(model, arrays)
    for name, array in model_arrays(model).items():
        np.testing.assert_array_equal(array, arrays[name])


class Scaled(keras.Model):
    """A model with a weight that no layer owns."""

    def build(self, input_shape):
        self.scale = self.add_weight((input_shape[-1],), name="scale")

    def call(self, x):
        return x * self.scale


def test_weights_of_the_model_itself_are_not_forgotten():
    model = Scaled(name="scaled")
    model(np.ones((1, 3), "float32"))
    assign_arrays(model, {"scaled/scale": np.arange(3.0)})
    np.testing.assert_array_equal(model.scale, [0, 1, 2])


def without(name):
    return lambda arrays: {other: a for other, a in arrays.items() if other != name}


def changed(name, change):
    return lambda arrays: arrays | {name: change(arrays[name])}


WRONG = {
    "missing": (without("conv1/bias"), "1 of the model have no array: conv1/bias"),
    "many missing": (lambda arrays: {}, r"12 of the model .*conv1/kernel.* and 9 more"),
    "unused": (lambda a: a | {"fc9/kernel": np.ones(3)}, "no weights of the model: fc9/kernel"),
    "another layer's name": (
        lambda a: without("conv1/bias")(a) | {"conv_1/bias": a["conv1/bias"]},
        "conv1/bias",
    ),
    "transposed": (changed("hidden/kernel", np.transpose), r"hidden/kernel \(5, 4\) for \(4, 5\)"),
    "an axis more": (changed("preds/bias", lambda a: a[None]), r"preds/bias \(1, 2\)"),
    "one for all": (changed("preds/bias", lambda a: a[0]), r"preds/bias \(\)"),
    "not a number": (changed("conv1/kernel", lambda a: a * np.nan), "NaN.*: conv1/kernel"),
    "infinity": (changed("conv1/kernel", lambda a: a + np.inf), "infinity: conv1/kernel"),
    "too large for float32": (changed("preds/bias", lambda a: a + 1e300), "infinity: preds/bias"),
    "integers": (changed("preds/bias", lambda a: a.astype("int32")), "preds/bias int32"),
    "objects": (changed("preds/bias", lambda a: a.astype(object)), "preds/bias object"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_arrays_are_told_and_change_nothing(model, case):
    """Red if one weight is assigned before all are checked."""
    make, message = WRONG[case]
    before = model_arrays(model)
    wanted = {name: array + 1 for name, array in before.items()}
    with pytest.raises(WeightsError, match=message):
        assign_arrays(model, make({n: a.astype("float64") for n, a in wanted.items()}))
    for name, array in model_arrays(model).items():
        np.testing.assert_array_equal(array, before[name])


def test_what_is_ignored_keeps_its_value(model):
    before = model_arrays(model)
    arrays = {name: array + 1 for name, array in before.items() if name != "preds/bias"}
    arrays["preds/kernel"] = np.ones((7, 7))  # of other classes
    assign_arrays(model, arrays, ignore=["preds", "conv1/bias"])
    after = model_arrays(model)
    for name in ("preds/kernel", "preds/bias", "conv1/bias"):
        np.testing.assert_array_equal(after[name], before[name])
    np.testing.assert_array_equal(after["conv1/kernel"], arrays["conv1/kernel"])
    with pytest.raises(WeightsError, match=r"to ignore .*: pred;"):
        assign_arrays(model, arrays, ignore=["pred"])


def test_two_layers_of_one_name_are_told():
    def part():
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(3, name="same")])

    model = keras.Sequential([keras.Input((3,)), part(), part()])
    with pytest.raises(WeightsError, match="same/kernel occurs twice"):
        model_arrays(model)


def test_a_model_that_is_not_built_is_told():
    with pytest.raises(WeightsError, match="built"):
        assign_arrays(keras.Sequential([keras.layers.Dense(3)]), {})


@pytest.mark.skipif(not MOBILENET.exists(), reason=f"{MOBILENET} is not here")
def test_a_published_file():
    """MobileNet's: all of its 475,544 parameters, those of the depthwise convolutions included."""
    model = keras.applications.MobileNet(alpha=0.25, weights=None)
    arrays = read_arrays(MOBILENET)
    assign_arrays(model, arrays)
    assert sum(array.size for array in arrays.values()) == 475_544 == model.count_params()
    kernel = arrays["conv_dw_7/depthwise_kernel"]
    np.testing.assert_array_equal(model.get_layer("conv_dw_7").kernel, kernel)
    mean = arrays["conv_pw_3_bn/moving_mean"]
    np.testing.assert_array_equal(model.get_layer("conv_pw_3_bn").moving_mean, mean)
