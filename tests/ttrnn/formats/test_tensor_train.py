"""TT-matrices against their dense equivalents: definition, storage, TT-SVD, counts, modes."""

import math
import re

import ml_dtypes
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttrnn.engine.contraction import tt_matmul
from ttrnn.formats import tensor_train

# The modes and the TT kernel counts of the paper's experiments; 4 output modes of 4, rank 4.
UCF11, HOLLYWOOD2, YOUTUBE = (8, 20, 20, 18), (10, 18, 13, 30), (4, 20, 20, 36)
PAPER_COUNTS = [
    (UCF11, 1, 2_976), (UCF11, 3, 3_232), (UCF11, 4, 3_360),
    (HOLLYWOOD2, 3, 2_944), (HOLLYWOOD2, 4, 3_104),
    (YOUTUBE, 3, 3_328), (YOUTUBE, 4, 3_392),
]  # fmt: skip


@st.composite
def tt_shapes(draw):
    """in_modes, out_modes, ranks: 1 to 4 modes, not all alike, so that a swap shows."""
    num_modes = draw(st.integers(1, 4))
    modes = st.lists(st.integers(1, 4), min_size=num_modes, max_size=num_modes)
    inner = draw(st.lists(st.integers(1, 4), min_size=num_modes - 1, max_size=num_modes - 1))
    return tuple(draw(modes)), tuple(draw(modes)), (1, *inner, 1)


def random_tt(shapes, dtype="float64", seed=0):
    cores = oracle.random_cores(np.random.default_rng(seed), *shapes)
    return [core.astype(dtype) for core in cores]


@settings(max_examples=40, deadline=None)
@given(tt_shapes(), st.sampled_from(["float32", "float64"]))
def test_cores_to_matrix_is_the_definition(shapes, dtype):
    """Red for a transposed mode, a rank axis swapped, or F-order multi-indices."""
    cores = random_tt(shapes, dtype)
    matrix = np.asarray(tensor_train.cores_to_matrix(cores))
    assert matrix.dtype == dtype
    expected = oracle.kernel_by_definition([core.astype("float64") for core in cores])
    tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype] * np.abs(expected).max()
    np.testing.assert_allclose(matrix, expected, rtol=0, atol=tolerance)


@settings(max_examples=40, deadline=None)
@given(tt_shapes(), st.integers(1, 5), st.sampled_from(["float32", "float64"]))
def test_tt_matmul_is_the_dense_product(shapes, batch, dtype):
    """Red for a merge order that is wrong at one of the shapes where another order is cheaper."""
    cores = random_tt(shapes, dtype)
    x = np.random.default_rng(1).standard_normal((batch, math.prod(shapes[0]))).astype(dtype)
    expected = x @ oracle.kernel_by_definition([core.astype("float64") for core in cores])
    tolerance = {"float32": 1e-5, "float64": 1e-12}[dtype] * max(1, np.abs(expected).max())
    np.testing.assert_allclose(tt_matmul(x, cores), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("batch", [1, 3, 400])
@pytest.mark.parametrize("gates", [1, 3, 4])
def test_tt_matmul_at_the_papers_modes(gates, batch):
    """The shapes that matter most, at which the cheapest order differs from that of small ones."""
    shapes = UCF11, (gates * 4, 4, 4, 4), (1, 4, 4, 4, 1)
    cores = random_tt(shapes, "float32")
    x = np.random.default_rng(1).standard_normal((batch, 57_600)).astype("float32")
    expected = oracle.original_matmul(
        x[:3].astype("float64"), oracle.flat_kernel(cores).astype("float64"), *shapes
    )
    np.testing.assert_allclose(
        np.asarray(tt_matmul(x, cores))[:3], expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.parametrize(("in_modes", "gates", "expected"), PAPER_COUNTS)
def test_parameter_counts_of_the_paper(in_modes, gates, expected):
    out_modes = (gates * 4, 4, 4, 4)
    assert tensor_train.num_tt_params(in_modes, out_modes, (1, 4, 4, 4, 1)) == expected


@settings(max_examples=60, deadline=None)
@given(tt_shapes())
def test_num_tt_params_counts_the_cores(shapes):
    assert tensor_train.num_tt_params(*shapes) == sum(core.size for core in random_tt(shapes))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 100_000), st.integers(1, 6))
def test_factorize_multiplies_back(size, num_modes):
    modes = tensor_train.factorize(size, num_modes)
    assert len(modes) == num_modes
    assert math.prod(modes) == size
    assert all(isinstance(mode, int) and mode >= 1 for mode in modes)


@pytest.mark.parametrize(
    ("size", "num_modes", "largest"),
    [(57_600, 4, 16), (256, 4, 4), (64, 3, 4), (36, 2, 6), (30, 3, 5), (97, 3, 97), (1, 3, 1)],
)
def test_factorize_is_balanced(size, num_modes, largest):
    """The most balanced factors, by the largest one. Red for [size, 1, 1] or a greedy miss."""
    assert max(tensor_train.factorize(size, num_modes)) == largest


def tt_error(matrix, cores):
    return np.linalg.norm(np.asarray(tensor_train.cores_to_matrix(cores), "float64") - matrix)


def core_ranks(cores):
    return (*(core.shape[0] for core in cores), cores[-1].shape[-1])


@settings(max_examples=25, deadline=None)
@given(tt_shapes(), st.integers(0, 99))
def test_tt_svd_is_exact_at_full_rank(shapes, seed):
    in_modes, out_modes, _ = shapes
    size = math.prod(in_modes), math.prod(out_modes)
    matrix = np.random.default_rng(seed).standard_normal(size)
    cores = tensor_train.tt_svd(matrix, in_modes, out_modes)
    for core, m, n in zip(cores, in_modes, out_modes, strict=True):
        assert np.shape(core)[1:3] == (m, n)
    assert tt_error(matrix, cores) <= 1e-10 * np.linalg.norm(matrix)


@settings(max_examples=40, deadline=None)
@given(tt_shapes(), st.floats(1e-3, 0.9), st.integers(0, 99))
def test_tt_svd_holds_its_error_bound(shapes, relative_error, seed):
    """The bound is on the whole: red if each of d - 1 truncations spends all of it."""
    in_modes, out_modes, _ = shapes
    rng = np.random.default_rng(seed)
    matrix = rng.standard_normal((math.prod(in_modes), math.prod(out_modes)))
    cores = tensor_train.tt_svd(matrix, in_modes, out_modes, relative_error=relative_error)
    assert tt_error(matrix, cores) <= relative_error * np.linalg.norm(matrix) * (1 + 1e-9)


@pytest.mark.parametrize(("relative_error", "bound"), [(1e-5, 1e-5), (None, 2e-6)])
def test_tt_svd_in_float32_keeps_small_singular_values(relative_error, bound):
    """One large singular value and many small ones that add up: the usual shape of a kernel.

    Red for a cut at "rounding", n * eps: with n = 256 in float32 it drops 3e-5 of the norm unasked.
    """
    size, rng = 16, np.random.default_rng(5)
    left, right = (np.linalg.qr(rng.standard_normal((size**2, size**2)))[0] for _ in range(2))
    values = np.full(size**2, 1.5e-6)
    values[0] = 1
    unfolded = ((left * values) @ right).reshape(size, size, size, size)
    matrix = unfolded.transpose(0, 2, 1, 3).reshape(size**2, size**2)
    cores = tensor_train.tt_svd(
        matrix.astype("float32"), (size, size), (size, size), relative_error=relative_error
    )
    cores = [core.astype("float64") for core in cores]
    assert tt_error(matrix, cores) <= bound * np.linalg.norm(matrix)


def test_tt_svd_finds_the_ranks_that_are_there():
    """A kernel of TT-rank (2, 3), asked for within 1e-6, comes back at (2, 3), noise or not."""
    shapes = (3, 4, 3), (4, 3, 4), (1, 2, 3, 1)
    matrix = oracle.kernel_by_definition(random_tt(shapes))
    noise = 1e-9 * np.linalg.norm(matrix) * np.random.default_rng(2).standard_normal(matrix.shape)
    cores = tensor_train.tt_svd(matrix + noise, *shapes[:2], relative_error=1e-6)
    assert core_ranks(cores) == (1, 2, 3, 1)
    by_ranks = tensor_train.tt_svd(matrix, *shapes[:2], tt_ranks=(1, 2, 3, 1))
    assert core_ranks(by_ranks) == (1, 2, 3, 1)
    assert tt_error(matrix, by_ranks) <= 1e-10 * np.linalg.norm(matrix)


@pytest.mark.parametrize("rank", [1, 2, 5])
def test_tt_svd_of_two_modes_is_the_truncated_svd(rank):
    """With d = 2 the best answer is known (Eckart-Young): numpy's own truncated SVD."""
    (m, n), (p, q) = (3, 4), (2, 5)
    matrix = np.random.default_rng(3).standard_normal((m * n, p * q))
    unfolded = matrix.reshape(m, n, p, q).transpose(0, 2, 1, 3).reshape(m * p, n * q)
    left, values, right = np.linalg.svd(unfolded, full_matrices=False)
    best = (left[:, :rank] * values[:rank]) @ right[:rank]
    best = best.reshape(m, p, n, q).transpose(0, 2, 1, 3).reshape(m * n, p * q)
    cores = tensor_train.tt_svd(matrix, (m, n), (p, q), max_rank=rank)
    assert core_ranks(cores) == (1, rank, 1)
    np.testing.assert_allclose(tensor_train.cores_to_matrix(cores), best, atol=1e-12)


def test_tt_svd_with_a_rank_bound_is_near_the_best():
    """Its error is at most sqrt(d - 1) times the best; each unfolding's tail is a lower bound."""
    in_modes, out_modes, rank = (3, 2, 4), (2, 3, 2), 2
    matrix = np.random.default_rng(4).standard_normal((24, 12))
    cores = tensor_train.tt_svd(matrix, in_modes, out_modes, max_rank=rank)
    assert max(core_ranks(cores)) == rank
    tensor = matrix.reshape(*in_modes, *out_modes).transpose(0, 3, 1, 4, 2, 5)
    tails = [
        np.linalg.norm(np.linalg.svd(tensor.reshape(rows, -1), compute_uv=False)[rank:])
        for rows in (6, 36)
    ]
    assert max(tails) - 1e-9 <= tt_error(matrix, cores) <= np.hypot(*tails) + 1e-9


@pytest.mark.parametrize("matrix", [np.zeros((6, 4)), np.ones((6, 4))])
def test_tt_svd_of_a_degenerate_matrix(matrix):
    """No singular value left, or only one: rank 1, never rank 0, and no NaN."""
    cores = tensor_train.tt_svd(matrix, (2, 3), (2, 2), relative_error=0.1)
    assert core_ranks(cores) == (1, 1, 1)
    np.testing.assert_allclose(tensor_train.cores_to_matrix(cores), matrix, atol=1e-12)


def test_tt_svd_refuses_a_matrix_that_is_not_of_the_modes():
    with pytest.raises(ValueError, match=r"7"):
        tensor_train.tt_svd(np.zeros((7, 4)), (2, 3), (2, 2), max_rank=2)


def spoilt(value, dtype="float64"):
    matrix = np.random.default_rng(0).standard_normal((6, 4)).astype(dtype)
    matrix[2, 3] = value
    return matrix


@pytest.mark.parametrize(
    ("matrix", "message"),
    [
        (spoilt(np.nan), "finite numbers. Received 1 of 24"),
        (spoilt(np.inf, "float32"), "finite numbers. Received 1 of 24"),
        (spoilt(-np.inf), "finite"),
        (spoilt(1j, "complex64"), "real numbers. Received complex64; decompose its real"),
        (spoilt(1).astype(object), "real numbers. Received object"),
        (spoilt(1).astype(str), "real numbers. Received <U"),
        (spoilt(1)[0], "has shape (4,)"),
        (np.zeros((0, 4)), "has shape (0, 4)"),
        (np.float64(1), "has shape ()"),
        (spoilt(6e4, "float16") * np.float16(1), None),
    ],
)
def test_tt_svd_refuses_what_has_no_decomposition(matrix, message):
    """Red for numpy's own error, or for a complex kernel whose imaginary part is dropped."""
    if message is None:  # large, yet every number fits
        cores = tensor_train.tt_svd(matrix, (2, 3), (2, 2))
        return np.testing.assert_allclose(tensor_train.cores_to_matrix(cores), matrix, atol=100)
    with pytest.raises(ValueError, match=re.escape(message)):
        tensor_train.tt_svd(matrix, (2, 3), (2, 2), max_rank=2)


@pytest.mark.parametrize("error", [np.nan, np.inf, -0.1])
def test_tt_svd_refuses_an_error_that_is_no_share(error):
    """Red where NaN compares as no bound at all."""
    with pytest.raises(ValueError, match="relative_error must be a finite number"):
        tensor_train.tt_svd(np.ones((6, 4)), (2, 3), (2, 2), relative_error=error)


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_tt_svd_of_very_small_or_large_numbers(scale):
    """Red where their squares, in the norm that the error is a share of, vanish or overflow."""
    matrix = np.random.default_rng(7).standard_normal((6, 4))
    cores = tensor_train.tt_svd(matrix * scale, (2, 3), (2, 2), relative_error=0.3)
    plain = tensor_train.tt_svd(matrix, (2, 3), (2, 2), relative_error=0.3)
    assert core_ranks(cores) == core_ranks(plain) != (1, 1, 1)
    assert 0 < tt_error(matrix, [*cores[:-1], cores[-1] / scale]) <= 0.3 * np.linalg.norm(matrix)


def test_tt_svd_whose_norm_does_not_fit_the_type():
    """Each number fits in float16, the norm that the last core holds does not."""
    matrix = np.full((64, 64), 6e4, "float16")
    with pytest.raises(ValueError, match="must fit in float16"):
        tensor_train.tt_svd(matrix, (8, 8), (8, 8))


@pytest.mark.parametrize("dtype", ["int8", "bool", "bfloat16"])
def test_tt_svd_of_other_numbers(dtype):
    matrix = 10 * np.random.default_rng(8).standard_normal((6, 4))
    matrix = matrix.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    cores = tensor_train.tt_svd(matrix, (2, 3), (2, 2))
    np.testing.assert_allclose(
        tensor_train.cores_to_matrix(cores), matrix.astype("float64"), atol=1e-4
    )


@pytest.mark.parametrize(
    "shapes", [[], [(1, 2, 2)], [(1, 2, 2, 2)], [(1, 2, 2, 2), (3, 2, 2, 1)], [(2, 2, 2, 1)]]
)
def test_cores_that_do_not_fit_each_other(shapes):
    """Red where ranks beyond the last one are left out without a word."""
    with pytest.raises(ValueError, match="cores must have shapes"):
        tensor_train.cores_to_matrix([np.ones(shape) for shape in shapes])


def test_cores_of_integers_do_not_overflow():
    cores = [np.full((1, 2, 2, 1), 100, "int8")] * 2
    np.testing.assert_array_equal(tensor_train.cores_to_matrix(cores), np.full((4, 4), 1e4))


@pytest.mark.parametrize(
    ("given_ranks", "num_modes", "expected"),
    [(4, 4, (1, 4, 4, 4, 1)), (4, 1, (1, 1)), ([1, 2, 3, 1], 3, (1, 2, 3, 1))],
)
def test_an_int_is_every_inner_rank(given_ranks, num_modes, expected):
    assert tuple(tensor_train.normalize_ranks(given_ranks, num_modes)) == expected
