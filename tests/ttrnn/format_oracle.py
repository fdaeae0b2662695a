"""The matrices of all tensor formats by their definitions, entry by entry, and examples of each."""

import math

import numpy as np

import ttrnn


def matrix_by_definition(shape, cores):
    """Matrix that the cores of a format stand for; every entry is computed by its own formula."""
    matrix = np.empty((math.prod(shape.input_modes), math.prod(shape.output_modes)))
    for row, i in enumerate(np.ndindex(*shape.input_modes)):
        for column, j in enumerate(np.ndindex(*shape.output_modes)):
            matrix[row, column] = ENTRIES[shape.name](shape, cores, i, j)
    return matrix


def _train(shape, cores, i, j):
    product = np.eye(1)
    for core, i_k, j_k in zip(cores, i, j, strict=True):
        product = product @ core[:, i_k, j_k, :]
    return product.item()


def _ring(shape, cores, i, j):
    if shape.separate:
        slices = [core[:, digit, :] for core, digit in zip(cores, (*i, *j), strict=True)]
    else:
        slices = [core[:, a, b, :] for core, a, b in zip(cores, i, j, strict=True)]
    product = np.eye(len(cores[0]))
    for matrix in slices:
        product = product @ matrix
    return np.trace(product)


def _tucker(shape, cores, i, j):
    core, *factors = cores
    for factor, i_k, j_k in zip(factors, i, j, strict=True):
        core = np.tensordot(factor[i_k, j_k], core, 1)  # the first axis that is left
    return core


def _block_term(shape, cores, i, j):
    return sum(_tucker(shape, [core[c] for core in cores], i, j) for c in range(shape.blocks))


def _tucker2(shape, cores, i, j):
    first, middle, last = cores
    column = np.ravel_multi_index(j, shape.output_modes)
    return first[i[0]] @ middle[(slice(None), *i[1:])] @ last[:, column]


def _cp(shape, cores, i, j):
    return sum(
        math.prod(factor[digit, r] for factor, digit in zip(cores, (*i, *j), strict=True))
        for r in range(cores[0].shape[1])
    )


def _kronecker_cp(shape, cores, i, j):
    return sum(
        math.prod(factor[r, a, b] for factor, a, b in zip(cores, i, j, strict=True))
        for r in range(len(cores[0]))
    )


def _hierarchical(shape, cores, i, j):
    leaves, transfers = cores[: len(i)], list(cores[len(i) :])

    def vector(start, stop):
        if stop - start == 1:
            return leaves[start][i[start], j[start]]
        middle = (start + stop + 1) // 2
        left, right = vector(start, middle), vector(middle, stop)
        # Transfer tensors come children first, which is the order in which they are asked for.
        return np.einsum("l,s,lst->t", left, right, transfers.pop(0))

    return vector(0, len(i)).item()


def _dense(shape, cores, i, j):
    row = np.ravel_multi_index(i, shape.input_modes)
    return cores[0][row, np.ravel_multi_index(j, shape.output_modes)]


ENTRIES = {
    "tt": _train,
    "tr": _ring,
    "tucker": _tucker,
    "bt": _block_term,
    "tucker2": _tucker2,
    "cp": _cp,
    "kcp": _kronecker_cp,
    "ht": _hierarchical,
    "dense": _dense,
}


def make(name, input_modes, output_modes, rank, seed=0):
    """A format by its test name, with unequal ranks from 1 to `rank` where it takes several.

    "tr nodes" is the ring of separate nodes, with one output mode less than there are.
    """
    rng = np.random.default_rng(seed)
    number = len(input_modes)
    if name == "tr nodes":
        joined = (*output_modes[:-2], math.prod(output_modes[-2:])) if number > 1 else output_modes
        ranks = rng.integers(1, rank + 1, number + len(joined)).tolist()
        return ttrnn.TensorRing(input_modes, joined, ranks, separate=True)
    if name == "tt":
        inner = rng.integers(1, rank + 1, number - 1).tolist()
        return ttrnn.TensorTrain(input_modes, output_modes, (1, *inner, 1))
    options = {"blocks": 3} if name == "bt" else {}
    lengths = {"tr": number, "bt": number, "tucker": number, "tucker2": 2, "ht": 2 * number - 2}
    length = lengths.get(name)
    ranks = rng.integers(1, rank + 1, length).tolist() if length else rank
    return ttrnn.make_format(name, input_modes, output_modes, ranks, **options)


NAMES = ("tt", "tr", "tr nodes", "bt", "tucker", "tucker2", "cp", "kcp", "ht", "dense")


def random_cores(shape, seed=0, dtype="float64"):
    rng = np.random.default_rng(seed)
    return [(0.7 * rng.standard_normal(core)).astype(dtype) for core in shape.core_shapes]
