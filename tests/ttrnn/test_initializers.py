"""Initial cores: the FULL kernel has the variance asked for, whatever the ranks."""

import keras
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_check import KINDS, LAYERS

import ttrnn

DRAWS = 30


def draw_cores(in_modes, out_modes, ranks, initializer, seed):
    layer = ttrnn.TTDense(in_modes, out_modes, ranks, kernel_initializer=initializer(seed))
    layer.build((None, int(np.prod(in_modes))))
    return [np.asarray(core, "float64") for core in layer.cores]


def kernel_variance(draws):
    """(estimate, its relative standard error) of the full kernel's variance, from drawn cores.

    For independent cores of mean zero it is prod(ranks) * prod_k E[core_k ** 2]; each factor is
    pooled over the draws, and its scatter measured.
    """
    squares = [np.square(cores) for cores in zip(*draws, strict=True)]
    num_paths = np.prod([core.shape[0] for core in draws[0]])
    estimate = num_paths * np.prod([square.mean() for square in squares])
    errors = [square.std() / square.mean() / np.sqrt(square.size) for square in squares]
    return estimate, np.linalg.norm(errors)


def check_variance(draws, expected):
    estimate, error = kernel_variance(draws)
    assert error < 0.15, "too few draws to tell"
    assert abs(estimate / expected - 1) < 5 * error


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_the_full_kernel_itself_has_the_variance(rank):
    """Nothing assumed: mean squares of whole kernels, and their own scatter over the draws."""
    shapes = (6, 5), (4, 3), (1, rank, 1)
    initializer, moments = keras.initializers.GlorotUniform, []
    for seed in range(150):
        kernel = oracle.kernel_by_chain(draw_cores(*shapes, initializer, 7 * seed))
        moments.append(np.mean(kernel**2))
    error = np.std(moments) / np.sqrt(len(moments))
    expected = 2 / (30 + 12)
    assert error < 0.05 * expected, "too few draws to tell"
    assert abs(np.mean(moments) - expected) < 5 * error


@pytest.mark.parametrize(
    ("initializer", "variance"),
    [
        (keras.initializers.GlorotUniform, lambda m, n: 2 / (m + n)),
        (keras.initializers.GlorotNormal, lambda m, n: 2 / (m + n)),
        (keras.initializers.HeNormal, lambda m, n: 2 / m),
        (keras.initializers.LecunUniform, lambda m, n: 1 / m),
        (lambda seed: keras.initializers.RandomNormal(stddev=0.3, seed=seed), lambda m, n: 0.09),
        (lambda seed: keras.initializers.RandomUniform(-0.3, 0.3, seed=seed), lambda m, n: 0.03),
        (lambda seed: keras.initializers.Orthogonal(seed=seed), lambda m, n: 1 / max(m, n)),
        (
            lambda seed: keras.initializers.VarianceScaling(3.0, "fan_out", "uniform", seed=seed),
            lambda m, n: 3 / n,
        ),
    ],
)
@pytest.mark.parametrize("rank", [1, 4])
def test_each_keras_initializer_keeps_its_variance(initializer, variance, rank):
    """Against Keras's own draw of the dense kernel's variance. Red for fans of a core."""
    shapes = (12, 10, 8), (6, 6, 6), (1, rank, rank, 1)
    draws = [draw_cores(*shapes, initializer, 7 * seed) for seed in range(DRAWS)]
    check_variance(draws, variance(960, 216))


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(4, 8), st.integers(4, 6)), min_size=1, max_size=4),
    st.integers(1, 8),
)
def test_glorot_variance_at_any_modes_and_rank(modes, rank):
    """Red for a forgotten sum over ranks (off by prod(r)) or the wrong root (d, not 2d)."""
    in_modes, out_modes = (tuple(axis) for axis in zip(*modes, strict=True))
    shapes = in_modes, out_modes, (1, *[rank] * (len(modes) - 1), 1)
    expected = 2 / (np.prod(in_modes) + np.prod(out_modes))
    initializer = keras.initializers.GlorotUniform
    check_variance([draw_cores(*shapes, initializer, 7 * k) for k in range(DRAWS)], expected)


def draw_layer_cores(layer_class, modes, features, initializer):
    draws = []
    for seed in range(DRAWS):
        layer = layer_class(*modes, kernel_initializer=initializer(7 * seed))
        layer.build((None, None, features))
        draws.append([np.asarray(core, "float64") for core in layer.cell.cores])
    return draws


@pytest.mark.parametrize("kind", KINDS)
def test_a_gated_kernel_has_the_dense_kernels_fans(kind):
    """Fans of the (M, gates * units) kernel, as in keras.layers.GRU; not of one gate."""
    modes = (5, 6), (6, 8), 3
    draws = draw_layer_cores(LAYERS[kind], modes, 30, keras.initializers.GlorotUniform)
    check_variance(draws, 2 / (30 + oracle.GATES[kind] * 48))


def ucf11_kernel_stddev(initializer):
    modes = (8, 20, 20, 18), (4, 4, 4, 4), 4
    variance, error = kernel_variance(draw_layer_cores(ttrnn.TTGRU, modes, 57_600, initializer))
    assert error < 0.04
    return np.sqrt(variance)


def test_keras2_flat_glorot_gives_the_published_spread():
    """Trap 2: 2.5e-3, where Keras 3's own rule for a flat vector gives 7.7e-7."""
    stddev = ucf11_kernel_stddev(ttrnn.Keras2FlatGlorotUniform)
    assert stddev == pytest.approx(2.5e-3, rel=0.05)
    # From the formula: limit = sqrt(6 / (sqrt(L) + sqrt(L))), and 4^3 paths through 4 cores.
    limit = np.sqrt(6 / (2 * np.sqrt(3_232)))
    assert stddev == pytest.approx(np.sqrt(64 * (limit**2 / 3) ** 4), rel=0.05)


def test_the_default_gives_the_dense_glorot_spread():
    assert ucf11_kernel_stddev(keras.initializers.GlorotUniform) == pytest.approx(5.8e-3, rel=0.05)


def test_keras2_flat_glorot_is_uniform_within_one_limit():
    """Every core has the same bound, and values up to it: uniform, not normal."""
    layer = ttrnn.TTGRU(
        (8, 20, 20, 18), (4, 4, 4, 4), 4, kernel_initializer=ttrnn.Keras2FlatGlorotUniform(seed=1)
    )
    layer.build((None, None, 57_600))
    limit = np.sqrt(3 / np.sqrt(3_232))
    for core in layer.cell.cores:
        largest = np.abs(core).max()
        assert 0.97 * limit < largest <= limit
        assert np.std(core) == pytest.approx(limit / np.sqrt(3), rel=0.1)


@pytest.mark.parametrize(
    "initializer",
    [lambda s: keras.initializers.GlorotUniform(seed=s), ttrnn.Keras2FlatGlorotUniform],
)
def test_a_seed_decides_and_no_two_cores_are_alike(initializer):
    shapes = (3, 3, 3), (2, 2, 2), (1, 1, 1, 1)
    first, again, other = (draw_cores(*shapes, initializer, s) for s in (1, 1, 5))
    np.testing.assert_array_equal(first, again)
    assert np.abs(np.subtract(first, other)).min(axis=(1, 2, 3, 4)).max() > 0
    assert len({core.tobytes() for core in first}) == 3, "cores of one shape drawn from one seed"
    unseeded = [draw_cores(*shapes, initializer, None)[0] for _ in range(2)]
    assert np.abs(unseeded[0] - unseeded[1]).max() > 0


def test_the_global_seed_decides():
    kernels = []
    for _ in range(2):
        keras.utils.set_random_seed(3)
        layer = ttrnn.TTDense((4, 3), (3, 2), 2)
        layer.build((None, 12))
        kernels.append(np.asarray(layer.cores[0]))
    np.testing.assert_array_equal(*kernels)


@pytest.mark.parametrize("initializer", ["zeros", "ones", "identity"])
def test_an_initializer_without_a_spread_is_refused(initializer):
    """Cores of zero would never learn: every gradient is a product with another core."""
    with pytest.raises(ValueError, match="kernel_initializer") as error:
        ttrnn.TTDense((2, 2), (2, 2), 2, kernel_initializer=initializer).build((None, 4))
    assert all(word in str(error.value) for word in ("Received", "glorot"))


def test_keras2_flat_glorot_round_trips_through_a_layer():
    layer = ttrnn.TTDense((2, 2), (2, 2), 2, kernel_initializer=ttrnn.Keras2FlatGlorotUniform(4))
    again = ttrnn.TTDense.from_config(layer.get_config())
    assert isinstance(again.kernel_initializer, ttrnn.Keras2FlatGlorotUniform)
    assert again.kernel_initializer.seed == 4
