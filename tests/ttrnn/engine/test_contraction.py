"""The planner against brute force, and every plan it could choose against the dense product."""

import math

import format_oracle
import keras
import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ttrnn
from ttrnn.engine import contraction
from ttrnn.engine.contraction import all_plans, plan, step_kernels, step_seconds

UCF11_GRU = ((1, 8, 12, 4), (4, 20, 4, 4), (4, 20, 4, 4), (4, 18, 4, 1))


@st.composite
def cores_shapes(draw, largest=5):
    """Shapes of 1 to 5 cores."""
    num_cores = draw(st.integers(1, 5))
    sizes = st.integers(1, largest)
    ranks = [1, *(draw(sizes) for _ in range(num_cores - 1)), 1]
    return tuple((ranks[k], draw(sizes), draw(sizes), ranks[k + 1]) for k in range(num_cores))


@settings(max_examples=60, deadline=None)
@given(cores_shapes(largest=40), st.sampled_from([None, 1, 16, 5000]),
       st.sampled_from(["float32", "bfloat16"]))  # fmt: skip
def test_no_plan_is_cheaper(shapes, rows, dtype):
    """Red when the dynamic programme forgets a cost, or prices a first step as a later one."""

    def seconds(steps):
        return sum(
            step_seconds(shapes, step, rows or 4096, dtype, first=k == 0)
            for k, step in enumerate(steps)
        )

    chosen = plan(shapes, rows, dtype)
    cheapest = min(seconds(steps) for steps in all_plans(shapes))
    assert chosen.seconds == pytest.approx(cheapest)
    assert seconds(chosen.steps) == pytest.approx(cheapest)


@settings(max_examples=30, deadline=None)
@given(cores_shapes(largest=3))
def test_every_plan_multiplies_alike(shapes):
    """Red when a kernel's axes are ordered for the wrong end, or a step's sizes are off."""
    rng = np.random.default_rng(0)
    cores = [rng.standard_normal(shape) for shape in shapes]
    x = rng.standard_normal((3, math.prod(shape[1] for shape in shapes)))
    expected = x @ oracle.kernel_by_definition(cores)
    plans = list(all_plans(shapes))
    assert len(plans) == 3 ** (len(shapes) - 1)
    for steps in plans:
        chosen = contraction.Plan(shapes, steps, 3, "float64", 0.0)
        state = x
        for step, kernel in zip(steps, step_kernels(chosen, cores), strict=True):
            assert state.size == 3 * step.size_in
            state = np.asarray(kernel).T @ state.reshape(-1, step.inner, step.after)
        np.testing.assert_allclose(state.reshape(3, -1), expected, atol=1e-10)


def test_operations_are_counted():
    """By hand for UCF11's GRU, unmerged but for the last two cores."""
    steps = next(
        steps
        for steps in all_plans(UCF11_GRU)
        if [(s.start, s.stop) for s in steps] == [(2, 4), (1, 2), (0, 1)]
    )
    assert [step.flops for step in steps] == [
        2 * 160 * (20 * 18) * (4 * 16),
        2 * 8 * (20 * 4) * (4 * 4) * 16,
        2 * (8 * 4) * 12 * 64,
    ]
    assert [step.size_out for step in steps] == [160 * 64, 8 * 16 * 16, 768]


def test_a_small_layer_takes_the_full_matrix():
    """Red when moving the running tensor costs nothing: one product is then never the cheapest."""
    small = plan(((1, 4, 4, 4), (4, 8, 8, 4), (4, 8, 8, 1)), 4096)
    assert [step.side for step in small.steps] == ["all"]
    assert len(plan(UCF11_GRU, 3200).steps) > 1


def test_plans_are_cached_and_explained():
    chosen = plan(UCF11_GRU, 3200, "bfloat16")
    assert plan(UCF11_GRU, 3200, "bfloat16") is chosen
    text = chosen.describe()
    assert "57,600 x 768 in 4 cores of ranks 1-4-4-4-1, bfloat16" in text
    assert f"{chosen.flops:,} FLOPs" in text
    for step in chosen.steps:
        assert f"{step.inner}x{step.outer}" in text
        assert f"{step.flops:,}" in text
    assert len(text.splitlines()) == 2 + len(chosen.steps)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(cores_shapes(largest=3), st.integers(2, 3))
def test_every_plan_of_a_ring_multiplies_alike(shapes, ring):
    """Red when the ring's index is lost at an end, or passes a core in the wrong place."""
    (_, m, n, rank), *rest = shapes
    shapes = ((ring, m, n, rank), *rest)
    (rank, m, n, _) = shapes[-1]
    shapes = (*shapes[:-1], (rank, m, n, ring))
    rng = np.random.default_rng(0)
    cores = [rng.standard_normal(shape) for shape in shapes]
    modes = [[shape[axis] for shape in shapes] for axis in (1, 2)]
    ranks = [shape[0] for shape in shapes]
    x = rng.standard_normal((3, math.prod(modes[0])))
    expected = x @ format_oracle.matrix_by_definition(ttrnn.TensorRing(*modes, ranks), cores)
    for steps in all_plans(shapes):
        chosen = contraction.Plan(shapes, steps, 3, "float64", 0.0)
        state = x
        for step, kernel in zip(steps, step_kernels(chosen, cores), strict=True):
            assert state.size == 3 * step.size_in
            state = np.asarray(kernel).T @ state.reshape(-1, step.inner, step.after)
        np.testing.assert_allclose(state.reshape(3, -1), expected, atol=1e-10)


def test_a_ring_is_closed_in_its_last_product(monkeypatch):
    """Red when the cores are merged one by one, to a matrix that is 121 times as large."""
    sizes = []

    def counted(cores):
        merged = merge_cores(cores)
        sizes.append(math.prod(merged.shape))
        return merged

    merge_cores = contraction.merge_cores
    monkeypatch.setattr(contraction, "merge_cores", counted)
    ring = ttrnn.TensorRing((4, 5, 8, 8), (12, 4, 4, 2), 11)
    rng = np.random.default_rng(0)
    cores = [rng.standard_normal(shape).astype("float32") for shape in ring.core_shapes]
    found = np.asarray(contraction.full_kernel([keras.ops.convert_to_tensor(c) for c in cores]))
    wanted = np.einsum("aijb,bklc,cmnd,dopa->ikmojlnp", *cores, optimize=True)
    np.testing.assert_allclose(found, wanted.reshape(found.shape), atol=1e-5 * abs(wanted).max())
    assert max(sizes) < found.size


# Published sizes: rows of a batch of pixels (16 clips of 200 frames), of features (16 of 8).
PUBLISHED = [
    (ttrnn.TensorTrain((8, 20, 20, 18), (4, 4, 4, 4), 4), 4, 3200),
    (ttrnn.BlockTerm((8, 20, 20, 18), (4, 4, 4, 4), 4, blocks=2), 4, 3200),
    (ttrnn.Tucker((8, 20, 20, 18), (4, 4, 4, 4), 4), 4, 3200),
    (ttrnn.KroneckerCP((8, 20, 20, 18), (4, 4, 4, 4), 4), 4, 3200),
    (ttrnn.HierarchicalTucker((8, 20, 20, 18), (4, 4, 4, 4), 4), 4, 3200),
    (ttrnn.CP((8, 20, 20, 18), (4, 4, 4, 4), 40), 4, 3200),
    (
        ttrnn.TensorRing((4, 2, 5, 8, 6, 5, 3, 2), (4, 4, 2, 4, 2), (10, *[5] * 12), separate=True),
        4,
        3200,
    ),
    (ttrnn.TensorTrain((64, 32), (128, 64), 10), 1, 128),
    (ttrnn.CP((64, 32), (128, 64), 400), 1, 128),
    (ttrnn.BlockTerm((64, 32), (128, 64), 5, blocks=2), 1, 128),
    (ttrnn.Tucker2((16, 16, 8), (8192,), 10), 1, 128),
]


@pytest.mark.parametrize(("shape", "gates", "rows"), PUBLISHED)
def test_published_sizes_take_fewer_operations_than_the_dense_layer(shape, gates, rows):
    """Red when a format's chain is as wide as the matrix: it would only cost weights' memory."""
    gated = shape.with_gates(gates)
    cores = [np.zeros(core, "float32") for core in gated.core_shapes]
    chains = gated.chains([keras.ops.convert_to_tensor(core) for core in cores])
    plans = [plan(contraction.core_shapes_of(chain), rows) for chain in chains]
    flops = sum(chosen.flops for chosen in plans)
    assert flops < 0.75 * 2 * gated.input_size * gated.output_size
