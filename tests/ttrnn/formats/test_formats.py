"""Every format against its definition, published numbers of weights, and bounds of its errors."""

import itertools
import math

import format_oracle
import keras
import numpy as np
import pytest
from format_oracle import NAMES, matrix_by_definition, random_cores
from hypothesis import given, settings
from hypothesis import strategies as st

import ttrnn
from ttrnn.engine.contraction import chains_matmul, full_matrix
from ttrnn.formats import base, block_term, cp, kronecker_cp
from ttrnn.initializers import core_initializers

PIXELS = (8, 20, 20, 18), (4, 4, 4, 4)
FEATURES = (64, 32), (128, 64)
# Weights of the input kernel of an LSTM, FACTS.md part 7: with the four gates on the first mode.
GATED = [
    (ttrnn.TensorTrain(*PIXELS, 4), 3_360, 17_554),
    (ttrnn.BlockTerm(*PIXELS, 4, blocks=2), 3_392, 17_388),
    (ttrnn.BlockTerm(*PIXELS, 2, blocks=1), 736, None),
    (ttrnn.BlockTerm(*PIXELS, 4, blocks=1), 1_696, None),
    (ttrnn.Tucker(*PIXELS, 4), 1_696, None),
    (ttrnn.BlockTerm(*PIXELS, 2, blocks=4), 2_944, None),
    (ttrnn.BlockTerm(*PIXELS, 4, blocks=4), 6_784, None),
    (
        ttrnn.TensorRing((4, 2, 5, 8, 6, 5, 3, 2), (4, 4, 2, 4, 2), (10, *[5] * 12), separate=True),
        1_725,
        34_193,
    ),
]
# Those that TedNet and Pan et al. state with the gates in the modes.
WHOLE = [
    (ttrnn.TensorRing(*FEATURES, (40, 60, 48, 48), separate=True), 663_552, None),
    (ttrnn.TensorRing(*FEATURES, 20, separate=True), 115_200, 146),
    (ttrnn.BlockTerm(*FEATURES, 5, blocks=2), 102_450, 164),
    (ttrnn.CP(*FEATURES, 400), 115_200, 146),
    (ttrnn.TensorTrain(*FEATURES, 10), 102_400, 164),
    (ttrnn.Tucker2((16, 16, 8), (8192,), 10), 94_880, 177),
]


@pytest.mark.parametrize(("shape", "weights", "compression"), GATED)
def test_published_weights_of_gated_kernels(shape, weights, compression):
    """Red for a core without its blocks, a ring without its closing rank, or gates elsewhere."""
    gated = shape.with_gates(4)
    assert gated.num_params == weights == sum(map(math.prod, gated.core_shapes))
    assert gated.input_size * gated.output_size == 58_982_400
    if compression:
        assert int(gated.compression(0).kernel) == pytest.approx(compression, abs=1)


@pytest.mark.parametrize(("shape", "weights", "compression"), WHOLE)
def test_published_weights_of_kernels_on_features(shape, weights, compression):
    assert shape.num_params == weights
    dense = shape.input_size * shape.output_size
    assert dense == 2048 * 8192
    if compression:
        assert round(shape.compression(0).kernel) == compression


def test_published_weights_of_whole_layers():
    """Pan et al.: both matrices of a TR-LSTM with two biases; a dense LSTM on pixels."""
    ring = ttrnn.TensorRing((64, 32), (32, 64), (40, 60, 48, 48), separate=True)
    cell = ttrnn.TensorLSTMCell(2048, kernel_format=ring, recurrent_format=ring)
    cell.build((None, 2048))
    assert cell.count_params() + 4 * 2048 == 1_343_488
    both = 2 * 2048 * 8192 + 2 * 8192
    assert both == 33_570_816
    assert both // 1_343_488 == 24  # "25 times" in print
    # Ours has one bias of the two, on both sides.
    assert cell.compression.layer == pytest.approx((both - 8192) / (1_343_488 - 8192))
    pixels = ttrnn.TensorLSTMCell(256)
    # Not built: 59 million weights are counted, not made.
    kernel = ttrnn.DenseMatrix((57_600,), (256,)).with_gates(4).num_params
    assert kernel + 256 * 1024 + 1024 == 59_245_568
    with pytest.raises(ValueError, match="call build"):
        _ = pixels.num_kernel_params


@st.composite
def shapes(draw):
    """A format of any kind with 1 to 4 modes, not all alike, so that a swap shows."""
    name = draw(st.sampled_from(NAMES))
    number = draw(st.integers(2 if name == "tucker2" else 1, 4))
    modes = st.lists(st.integers(1, 3), min_size=number, max_size=number)
    rank, seed = draw(st.integers(1, 3)), draw(st.integers(0, 99))
    return format_oracle.make(name, tuple(draw(modes)), tuple(draw(modes)), rank, seed)


def check_equals_the_definition(shape, dtype):
    cores = random_cores(shape, dtype=dtype)
    expected = matrix_by_definition(shape, [core.astype("float64") for core in cores])
    tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype] * max(1, np.abs(expected).max())
    np.testing.assert_allclose(shape.matrix(cores), expected, rtol=0, atol=tolerance)
    chains = shape.chains([keras.ops.convert_to_tensor(core) for core in cores])
    np.testing.assert_allclose(full_matrix(chains), expected, rtol=0, atol=tolerance)
    x = np.random.default_rng(1).standard_normal((3, shape.input_size)).astype(dtype)
    product = chains_matmul(keras.ops.convert_to_tensor(x), chains, dtype)
    np.testing.assert_allclose(product, x @ expected, rtol=0, atol=10 * tolerance)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(shapes(), st.sampled_from(["float32", "float64"]))
def test_any_format_equals_its_definition(shape, dtype):
    """Full matrix, and product by its chains. Red for a bond or a digit in another place."""
    check_equals_the_definition(shape, dtype)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(shapes(), st.sampled_from(["float32", "float64"]))
def test_many_formats_equal_their_definition(shape, dtype):
    check_equals_the_definition(shape, dtype)


@pytest.mark.parametrize("name", NAMES)
def test_each_format_equals_its_definition(name):
    """Five modes, where trees are uneven and every rank passes a core."""
    number = 3 if name == "dense" else 5
    modes = (2, 3, 1, 2, 2)[:number], (1, 2, 3, 2, 1)[:number]
    check_equals_the_definition(format_oracle.make(name, *modes, 3), "float64")


@pytest.mark.parametrize("name", NAMES[:-1])
def test_the_full_matrix_has_the_variance_of_a_dense_kernel(name):
    """By whole matrices, drawn with the standard deviations that the initializers have.

    Red for a bond that is not counted, or a root of another number of cores.
    """
    shape = format_oracle.make(name, (4, 3, 4), (3, 4, 3), 3)
    drawn = core_initializers(keras.initializers.GlorotUniform(), shape)
    rng = np.random.default_rng(0)
    moments = [
        np.mean(
            shape.matrix(
                [
                    one.stddev * rng.standard_normal(core)
                    for one, core in zip(drawn, shape.core_shapes, strict=True)
                ]
            )
            ** 2
        )
        for _ in range(600)
    ]
    error = np.std(moments) / np.sqrt(len(moments))
    expected = 2 / (48 + 36)
    assert error < 0.12 * expected, "too few draws to tell"
    assert abs(np.mean(moments) - expected) < 5 * error


MODES = (3, 4, 2), (2, 2, 3)
EXACT = ("tt", "tr", "tucker", "tucker2", "kcp", "ht", "cp", "bt")


@pytest.mark.parametrize("name", EXACT)
def test_a_matrix_of_the_format_is_found_again(name):
    """At its own ranks, from a matrix that has them; in the dtype of the matrix."""
    options = {"blocks": 1} if name == "bt" else {}
    # A ring whose ends have rank 1, as its SVD finds any; of others it finds no more than a part.
    own = (1, 2, 2) if name == "tr" else 2
    given = ttrnn.make_format(name, *MODES, own, **options)
    matrix = given.matrix(random_cores(given)).astype("float32")
    ranks = given.ranks if name in ("tt", "tr") else 2
    found, cores = type(given).decompose(matrix, *MODES, ranks=ranks, **options)
    assert [core.shape for core in cores] == list(found.core_shapes)
    assert {core.dtype for core in cores} == {np.dtype("float32")}
    assert found.num_params <= given.num_params
    rebuilt = matrix_by_definition(found, [core.astype("float64") for core in cores])
    # Alternating least squares stop where they gain little.
    tolerance = 1e-2 if name in ("cp", "bt", "kcp") else 1e-5
    np.testing.assert_allclose(rebuilt, matrix, atol=tolerance * np.abs(matrix).max())


def test_cp_of_single_modes_is_the_truncated_svd():
    """Red for alternating least squares, which stop short of the best matrix of a low rank."""
    matrix = np.random.default_rng(0).standard_normal((60, 40))
    _, cores = ttrnn.CP.decompose(matrix, (60,), (40,), ranks=5)
    left, singular, right = np.linalg.svd(matrix)
    best = left[:, :5] * singular[:5] @ right[:5]
    np.testing.assert_allclose(cores[0] @ cores[1].T, best, atol=1e-10)
    error = np.sqrt((singular[5:] ** 2).sum() / (singular**2).sum())
    found, _ = ttrnn.CP.decompose(matrix, (60,), (40,), relative_error=error * 1.001)
    assert found.ranks == (5,)


@pytest.mark.parametrize(
    ("module", "shape"),
    [(cp, ttrnn.CP((3, 4, 2), (2, 3, 4), 6)), (kronecker_cp, ttrnn.KroneckerCP(*MODES, 5))],
)
def test_the_shortcut_of_a_sweep_is_the_sweep_for_any_network(module, shape):
    """Red for factors of the wrong half, another order, or an error of an earlier factor."""
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((shape.input_size, shape.output_size))
    cores = random_cores(shape)
    general = base.any_sweeps(shape, matrix, list(cores))
    for _ in range(4):
        expected, error = next(general)
    quick = module._sweeps(shape, matrix, list(cores))
    for _ in range(4):
        found, reached = next(quick)
    assert reached == pytest.approx(error)
    np.testing.assert_allclose(shape.matrix(found), shape.matrix(expected), atol=1e-8)


def test_a_factor_twice_is_solved():
    """Red where a singular system ends the sweeps, or fills them with NaN."""
    factors = [np.ones((size, 2)) for size in (3, 4, 2)]
    found, error = next(base.product_sweeps(factors, np.ones((3, 4, 2))))
    assert error < 1e-6
    assert np.isfinite(np.concatenate(found)).all()


def test_blocks_of_a_large_matrix_are_fitted_one_after_the_other(monkeypatch):
    """Red for a sweep that loses ground, an error of other cores, or blocks that add nothing."""
    given = ttrnn.BlockTerm(*MODES, 2, blocks=2)
    matrix = given.matrix(random_cores(given))
    matrix += 0.05 * np.random.default_rng(1).standard_normal(matrix.shape)
    errors = []
    for cores, error in itertools.islice(block_term._block_sweeps(given, matrix, []), 30):
        assert [core.shape for core in cores] == list(given.core_shapes)
        distance = np.linalg.norm(matrix_by_definition(given, cores) - matrix)
        assert error == pytest.approx(distance / np.linalg.norm(matrix))
        errors.append(error)
    assert np.diff(errors).max() < 1e-9
    alone, cores = ttrnn.Tucker.decompose(matrix, *MODES, ranks=2)
    tucker = np.linalg.norm(matrix_by_definition(alone, cores) - matrix) / np.linalg.norm(matrix)
    assert errors[-1] < 0.8 * tucker
    # A rank may exceed the entries of its modes.
    monkeypatch.setattr(block_term, "SMALL", 0)
    found, cores = ttrnn.BlockTerm.decompose(matrix, *MODES, ranks=9)
    assert [core.shape for core in cores] == list(found.core_shapes)
    np.testing.assert_allclose(found.matrix(cores), matrix, atol=1e-8)


def test_a_ring_is_fitted_where_its_svd_cannot():
    """The first SVD gives two bonds at most 6 together, the size of the first mode."""
    given = ttrnn.TensorRing(*MODES, (3, 4, 3))
    matrix = given.matrix(random_cores(given))
    found, cores = ttrnn.TensorRing.decompose(matrix, *MODES, ranks=(3, 4, 3))
    error = np.linalg.norm(matrix_by_definition(found, cores) - matrix)
    assert found.ranks == (3, 4, 3)
    assert error < 0.15 * np.linalg.norm(matrix)


# By singular values, any error is reached; by alternating least squares the large ones soon are.
ERRORS = [(name, error) for name in EXACT[:-3] if name != "kcp" for error in (0.05, 0.4)]
ERRORS += [(name, 0.4) for name in ("ht", "cp", "kcp", "bt")] + [("ht", 0.05)]


@pytest.mark.parametrize(("name", "relative_error"), ERRORS)
def test_the_error_holds(name, relative_error):
    """Of matrices with falling singular values, by NumPy's norm."""
    left, right = (np.linalg.qr(np.random.default_rng(k).normal(size=(24, 12)))[0] for k in (0, 1))
    matrix = left * 0.4 ** np.arange(12) @ right[:12]
    found, cores = ttrnn.make_format(name, *MODES, 1).decompose(
        matrix, *MODES, relative_error=relative_error
    )
    error = np.linalg.norm(matrix_by_definition(found, cores) - matrix)
    assert error <= relative_error * np.linalg.norm(matrix) * (1 + 1e-9)
    smaller, _ = ttrnn.make_format(name, *MODES, 1).decompose(matrix, *MODES, relative_error=0.9)
    assert smaller.num_params < found.num_params


def test_ranks_bound_what_an_error_asks_for():
    matrix = np.random.default_rng(0).normal(size=(24, 12))
    for name in ("tt", "tr", "tucker", "ht", "cp"):
        kind = type(ttrnn.make_format(name, *MODES, 1))
        found, _ = kind.decompose(matrix, *MODES, ranks=2, relative_error=1e-3)
        assert max(found.ranks) <= 2, name


@pytest.mark.parametrize("scale", [1e-30, 1e30, 0.0])
def test_any_magnitude_is_decomposed(scale):
    """Red where squares vanish or overflow, or a matrix of zeros has no direction."""
    for name in EXACT:
        given = ttrnn.make_format(name, *MODES, 1)
        matrix = scale * given.matrix(random_cores(given))
        found, cores = type(given).decompose(matrix, *MODES, ranks=1)
        np.testing.assert_allclose(
            found.matrix(cores), matrix, rtol=1e-6, atol=1e-6 * abs(matrix).max(), err_msg=name
        )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ttrnn.TensorRing((2, 3), (4,), 2), "same number of modes"),
        (lambda: ttrnn.TensorRing((2, 3), (4, 2), (2, 3, 4)), "one integer or 2 integers"),
        (lambda: ttrnn.Tucker((2, 3), (4, 0), 2), "output_modes must hold positive"),
        (lambda: ttrnn.Tucker2((6,), (4,), 2), "at least two"),
        (lambda: ttrnn.BlockTerm((2, 3), (4, 2), 2, blocks=0), "blocks must hold positive"),
        (lambda: ttrnn.HierarchicalTucker((2, 3, 2), (4, 2, 2), (2, 2)), "one integer or 4"),
        (lambda: ttrnn.CP((2, 3), (4, 2), 0), "ranks must hold positive"),
        (lambda: ttrnn.make_format("tensor", (2,), (2,), 1), "must be one of tt, tr"),
        (lambda: ttrnn.CP.decompose(np.ones((4, 4)), (2, 2), (4,)), "Give ranks or relative_error"),
        (lambda: ttrnn.CP.decompose(np.ones((4, 4)), (2,), (4,), ranks=1), "choose modes"),
        (lambda: ttrnn.CP.decompose(np.ones((4, 4)) * np.nan, (4,), (4,), ranks=1), "finite"),
        (
            lambda: ttrnn.CP.decompose(np.ones((4, 4)), (4,), (4,), relative_error=-1),
            "not negative",
        ),
    ],
)
def test_what_does_not_fit_is_told(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_formats_are_saved_and_compared():
    for name in NAMES:
        shape = format_oracle.make(name, (2, 3, 2), (2, 2, 3), 3)
        assert type(shape).from_config(shape.get_config()) == shape
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(shape))
        assert again == shape
        assert hash(again) == hash(shape)
