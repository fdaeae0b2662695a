"""Forward and gradients of the layers against the oracle, on the backend KERAS_BACKEND names.

A script, not a test: a process has one backend. test_backends.py runs it; it prints "equal".
"""

import keras
import numpy as np
import oracle

import ttrnn

LAYERS = {"rnn": ttrnn.TTSimpleRNN, "gru": ttrnn.TTGRU, "lstm": ttrnn.TTLSTM}
MODES = {"tt_input_shape": (2, 3), "tt_output_shape": (2, 2), "tt_ranks": (1, 2, 1)}
MASK = np.array([[1, 1, 1, 1], [0, 0, 1, 1], [1, 0, 1, 0]], bool)


def jax_gradients(layer, x, call, probe):
    import jax

    def loss(trainable, x):
        output, _ = layer.stateless_call(trainable, fixed, x, **call)
        return (output * probe).sum()

    fixed = [v.value for v in layer.non_trainable_variables]
    trainable = [v.value for v in layer.trainable_variables]
    weights, inputs = jax.jit(jax.grad(loss, argnums=(0, 1)))(trainable, x)
    return [inputs, *weights]


def torch_gradients(layer, x, call, probe):
    import torch

    x = torch.tensor(x, requires_grad=True)
    (layer(x, **call) * torch.tensor(probe)).sum().backward()
    return [x.grad, *(v.value.grad for v in layer.trainable_variables)]


def tensorflow_gradients(layer, x, call, probe):
    import tensorflow as tf

    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(layer(x, **call) * probe)
    return tape.gradient(loss, [x, *(v.value for v in layer.trainable_variables)])


def check(name, layer, x, call, expected_output):
    """expected_output(x, *weights): the oracle's, as a function to be differentiated by steps."""
    layer.build(x.shape)
    rng = np.random.default_rng(1)
    for variable in layer.trainable_variables:
        variable.assign(0.6 * rng.standard_normal(variable.shape))
    weights = [keras.ops.convert_to_numpy(v).astype("float64") for v in layer.trainable_variables]
    output = keras.ops.convert_to_numpy(layer(x, **call))
    wide = x.astype("float64")
    np.testing.assert_allclose(output, expected_output(wide, *weights), atol=1e-5, err_msg=name)

    probe = rng.standard_normal(output.shape).astype("float32")
    numeric = oracle.numeric_gradient(
        lambda *arrays: np.vdot(probe, expected_output(*arrays)), [wide, *weights]
    )
    found = globals()[f"{keras.backend.backend()}_gradients"](layer, x, call, probe)
    for mine, theirs in zip(found, numeric, strict=True):
        mine = keras.ops.convert_to_numpy(mine)
        scale = max(1, np.abs(theirs).max())
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=2e-5 * scale, err_msg=name)


def main():
    x = np.random.default_rng(0).standard_normal((3, 4, 6)).astype("float32")
    dense = ttrnn.TTDense(**MODES, activation="tanh")
    check(
        "dense",
        dense,
        x,
        {},
        lambda x, a, b, bias: np.tanh(x @ oracle.kernel_by_definition([a, b]) + bias),
    )
    for kind, cls in LAYERS.items():
        for mask, go_backwards in [(None, False), (MASK, True)]:

            def expected(x, a, b, u, bias, kind=kind, mask=mask, go_backwards=go_backwards):
                options = {"mask": mask, "go_backwards": go_backwards}
                return oracle.forward(kind, x, [a, b], u, bias, **options)[0]

            layer = cls(**MODES, return_sequences=True, go_backwards=go_backwards)
            call = {} if mask is None else {"mask": keras.ops.convert_to_tensor(mask)}
            check(f"{kind} go_backwards={go_backwards}", layer, x, call, expected)
    check_training(ttrnn.TTGRU)
    integers = (10 * x).astype("int8")
    np.testing.assert_allclose(
        keras.ops.convert_to_numpy(dense(integers)),
        keras.ops.convert_to_numpy(dense(integers.astype("float32"))),
        atol=1e-5,
    )
    print("equal")


def check_training(cls):
    """fit() with dropout, the backend's own compiled step, and a finite loss that falls."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).standard_normal((16, 5, 6)).astype("float32")
    layer = cls(**MODES, dropout=0.1, recurrent_dropout=0.1, seed=1)
    model = keras.Sequential([layer, keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.03), "mse")
    losses = model.fit(x, x[:, -1, :1], epochs=12, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0], losses


if __name__ == "__main__":
    main()
