"""Chunked products against NumPy: values and gradients, whatever is kept or computed again."""

import numpy as np
import oracle
import pytest
import tensorflow as tf

from ttrnn.engine import projection
from ttrnn.engine.contraction import Plan, Step, core_shapes_of, plan
from ttrnn.engine.projection import project

SHAPES = ((1, 4, 6, 3), (3, 5, 2, 2), (2, 3, 4, 1))  # 60 x 48
FEATURES, UNITS = 60, 48


def cores(dtype="float64"):
    rng = np.random.default_rng(0)
    return [tf.constant(rng.standard_normal(shape), dtype) for shape in SHAPES]


def several_chunks(monkeypatch, steps=((2, 3), (1, 2), (0, 1)), chunk_rows=4):
    """Let a product take this plan, a few rows at a time."""
    from ttrnn.engine import contraction

    chosen = next(
        candidate
        for candidate in contraction.all_plans(SHAPES)
        if tuple((step.start, step.stop) for step in candidate) == steps
    )

    class SmallChunks(contraction.Plan):
        @property
        def chunk_rows(self):
            return chunk_rows

    monkeypatch.setattr(
        projection, "plan", lambda shapes, rows, dtype: SmallChunks(SHAPES, chosen, 0, dtype, 0.0)
    )


@pytest.mark.parametrize(("limit", "compiled"), [(0, False), (2000, False), (2000, True)])
@pytest.mark.parametrize("steps", [((2, 3), (1, 2), (0, 1)), ((0, 1), (2, 3), (1, 2)), ((0, 3),)])
@pytest.mark.parametrize("num_rows", [1, 4, 10, 13])
def test_rows_of_floats(monkeypatch, compiled, limit, steps, num_rows):
    """Red when a chunk is skipped, counted twice, or kept under another's number; when a gradient
    is a step's neighbour's; when rows not asked for get a gradient."""
    several_chunks(monkeypatch, steps)
    rng = np.random.default_rng(1)
    source, upstream = rng.standard_normal((15, FEATURES)), rng.standard_normal((num_rows, UNITS))
    rows = rng.permutation(15)[:num_rows].astype(np.int32)
    train = cores()

    def run(source, rows):
        with tf.GradientTape() as tape:
            tape.watch([source, *train])
            product = project(source, train, dtype="float64", rows=rows, max_activation_bytes=limit)
        return product, *tape.gradient(product, [source, *train], output_gradients=upstream)

    if compiled:
        run = tf.function(run, autograph=False)
    product, by_source, *by_cores = run(tf.constant(source), tf.constant(rows))
    kernel = oracle.kernel_by_definition([core.numpy() for core in train])
    np.testing.assert_allclose(product, source[rows] @ kernel, atol=1e-10)
    expected = np.zeros_like(source)
    expected[rows] = upstream @ kernel.T
    np.testing.assert_allclose(by_source, expected, atol=1e-10)
    expected = oracle.core_gradients([c.numpy() for c in train], source[rows].T @ upstream)
    for mine, theirs in zip(by_cores, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-9)


@pytest.mark.parametrize("num_rows", [1, 4, 10, None])
@pytest.mark.parametrize("limit", [0, 2**28])
def test_rows_of_bytes_are_prepared(monkeypatch, num_rows, limit):
    """Red when the rows that fill up the last chunk count, or `prepare` is told other rows."""
    several_chunks(monkeypatch)
    rng = np.random.default_rng(1)
    source = rng.integers(0, 256, (13, FEATURES), np.uint8)
    rows = np.arange(13) if num_rows is None else rng.permutation(13)[:num_rows]
    offsets = rng.standard_normal(13)
    upstream = rng.standard_normal((len(rows), UNITS))
    train = cores()

    def prepare(part, rows, offsets):
        return tf.cast(part, tf.float64) - tf.gather(offsets, rows)[:, None]

    with tf.GradientTape() as tape:
        tape.watch(train)
        product = project(
            tf.constant(source),
            train,
            dtype="float64",
            rows=None if num_rows is None else tf.constant(rows, tf.int32),
            prepare=prepare,
            context=(tf.constant(offsets),),
            max_activation_bytes=limit,
        )
    kernel = oracle.kernel_by_definition([core.numpy() for core in train])
    x = source[rows] - offsets[rows][:, None]
    np.testing.assert_allclose(product, x @ kernel, atol=1e-9)
    expected = oracle.core_gradients([c.numpy() for c in train], x.T @ upstream)
    for mine, theirs in zip(
        tape.gradient(product, train, output_gradients=upstream), expected, strict=True
    ):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("num_cores", "num_rows", "expected"),
    [
        (1, 100, [64, 64]),
        (4, 100, [32] * 4),
        (64, 100, [8] * 13),
        (2, 5, [8]),
        (2, 1000, [64] * 16),
    ],
)
def test_every_core_gets_a_chunk_of_few_sizes(monkeypatch, num_cores, num_rows, expected):
    """Red when a server of many cores has fewer chunks than cores, or XLA compiles `prepare` anew
    for each number of rows."""
    several_chunks(monkeypatch, chunk_rows=64)
    monkeypatch.setattr(projection, "_num_cores", lambda: num_cores)
    source = np.random.default_rng(1).integers(0, 256, (num_rows, FEATURES), np.uint8)
    sizes = []

    def prepare(part, rows):
        sizes.append(part.shape[0])
        return tf.cast(part, tf.float64)

    product = project(tf.constant(source), cores(), dtype="float64", prepare=prepare)
    assert sizes == expected
    kernel = oracle.kernel_by_definition([core.numpy() for core in cores()])
    np.testing.assert_allclose(product, source @ kernel, rtol=1e-9)


def test_the_sums_over_chunks_are_float32(monkeypatch):
    """Red when a gradient is summed in bfloat16: 300 equal parts then stop adding up at 256."""
    several_chunks(monkeypatch, steps=((0, 3),), chunk_rows=1)
    train = cores("float32")
    ones = tf.ones((300, FEATURES))
    with tf.GradientTape() as tape:
        tape.watch(train)
        product = project(ones, train, dtype="bfloat16", max_activation_bytes=2**20)
    found = tape.gradient(product, train, output_gradients=tf.ones_like(product))
    expected = oracle.core_gradients(
        [c.numpy().astype("float64") for c in train], np.full((FEATURES, UNITS), 300.0)
    )
    for mine, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-3)


def test_what_is_kept_follows_the_limit(monkeypatch):
    """Red when the limit is not looked at: what is kept then grows with the number of rows."""
    several_chunks(monkeypatch)
    chosen = projection.plan(SHAPES, None, "float64")
    bytes_a_row = chosen.kept_size * 8
    for limit in (0, 10 * bytes_a_row, 10**9):
        product = projection._ChunkedProduct(
            tf.zeros((40, FEATURES), tf.float64), None, chosen, None, (), limit
        )
        kept_rows = int(product._num_kept) * int(product._chunk)
        assert kept_rows == min(40, limit // bytes_a_row // 4 * 4 if limit else 0)


def test_a_plan_is_of_the_kernel_at_hand():
    assert plan(core_shapes_of(cores()), 8, "float32").core_shapes == SHAPES


@pytest.mark.parametrize("after", [1, 2, 8, 9, 16])
def test_a_step_is_the_same_for_few_and_many_columns(after):
    """By einsum. Red where the columns of a block are taken for those of another one."""
    step = Step(0, 1, "right", before=3, inner=5, outer=4, after=after)
    rng = np.random.default_rng(0)
    state, kernel, gradient = (
        rng.standard_normal(s) for s in ((6, 5, after), (5, 4), (6, 4, after))
    )
    only = Plan(((1, 5, 4, 1),), (step,), 6, "float64", 0.0)
    (operand,) = projection.step_operands([tf.constant(kernel)], only)
    found = projection.contract(tf.constant(state), operand, step)
    expected = np.einsum("bia,io->boa", state, kernel)
    np.testing.assert_allclose(np.reshape(found, expected.shape), expected)
    found = projection.state_gradient(tf.constant(gradient), tf.constant(kernel), step)
    expected = np.einsum("boa,io->bia", gradient, kernel)
    np.testing.assert_allclose(np.reshape(found, expected.shape), expected)
