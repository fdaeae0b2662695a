"""Oracle of the Tensor-Train recurrent layers in float64 NumPy: slow, but easy to check by eye.

Nothing here is shared with `ttrnn`. Core k has shape (r_k, m_k, n_k, r_{k+1}); multi-indices are
C-order; a gated cell's first output mode is 3 * n_0 (GRU) or 4 * n_0 (LSTM).
"""

import math
from itertools import pairwise

import numpy as np

GATES = {"rnn": 1, "gru": 3, "lstm": 4}


def random_cores(rng, in_modes, out_modes, ranks, scale=0.6):
    shapes = zip(ranks, in_modes, out_modes, ranks[1:], strict=False)
    return [scale * rng.standard_normal(shape) for shape in shapes]


def kernel_by_definition(cores):
    """Kernel by its definition: W[i, j] is the product of core_k[:, i_k, j_k, :] over all k."""
    in_modes = [core.shape[1] for core in cores]
    out_modes = [core.shape[2] for core in cores]
    kernel = np.empty((math.prod(in_modes), math.prod(out_modes)))
    for row, i in enumerate(np.ndindex(*in_modes)):
        for column, j in enumerate(np.ndindex(*out_modes)):
            entry = np.ones((1, 1))
            for core, i_k, j_k in zip(cores, i, j, strict=True):
                entry = entry @ core[:, i_k, j_k, :]
            kernel[row, column] = entry.item()
    return kernel


def flat_kernel(cores):
    """Flat kernel of the original: its (m_k * r_{k+1}, r_k * n_k) matrices, last core first."""
    return np.concatenate([core.transpose(1, 3, 0, 2).ravel() for core in reversed(cores)])


def original_matmul(x, flat, in_modes, out_modes, ranks):
    """Compute x W in the original's order of operations, directly from its flat kernel."""
    result, start = x, 0
    for k in reversed(range(len(in_modes))):
        rows, columns = in_modes[k] * ranks[k + 1], ranks[k] * out_modes[k]
        core = flat[start : start + rows * columns].reshape(rows, columns)
        start += rows * columns
        result = (result.reshape(-1, rows) @ core).reshape(-1, out_modes[k]).T
    assert start == len(flat)
    return result.reshape(-1, len(x)).T


def num_params(in_modes, out_modes, ranks):
    return sum(
        m * n * r * s for m, n, (r, s) in zip(in_modes, out_modes, pairwise(ranks), strict=True)
    )


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def keras2_hard_sigmoid(x):
    return np.clip(0.2 * x + 0.5, 0, 1)


def recur(
    kind,
    projected,
    recurrent,
    *,
    mask=None,
    go_backwards=False,
    initial_state=None,
    recurrent_mask=1.0,
    activation=np.tanh,
    recurrent_activation=sigmoid,
):
    """Run the recurrence over projected = x W + b, (batch, time, gates * units).

    Returns the output sequence (batch, time, units) and the list of last states. A masked step
    carries the state and repeats the last output (zeros before the first unmasked step).
    """
    batch, num_steps, _ = projected.shape
    units = len(recurrent)
    num_states = 2 if kind == "lstm" else 1
    states = initial_state or [np.zeros((batch, units))] * num_states
    mask = np.ones((batch, num_steps), bool) if mask is None else np.asarray(mask, bool)
    output, outputs = np.zeros((batch, units)), []
    for t in range(num_steps)[:: -1 if go_backwards else 1]:
        new = _step(
            kind, projected[:, t], states, recurrent, recurrent_mask, activation,
            recurrent_activation,
        )  # fmt: skip
        keep = mask[:, t, None]
        states = [np.where(keep, n, s) for n, s in zip(new, states, strict=True)]
        output = np.where(keep, new[0], output)
        outputs.append(output)
    return np.stack(outputs, axis=1), states


def _step(kind, x, states, recurrent, recurrent_mask, activation, recurrent_activation):
    h, *rest = states
    u = len(recurrent)
    if kind == "rnn":
        return [activation(x + (h * recurrent_mask) @ recurrent)]
    if kind == "gru":  # z, r, h; the reset gate acts BEFORE the recurrent product
        zr = x[:, : 2 * u] + (h * recurrent_mask) @ recurrent[:, : 2 * u]
        z, r = np.split(recurrent_activation(zr), 2, axis=1)
        candidate = activation(x[:, 2 * u :] + (r * h * recurrent_mask) @ recurrent[:, 2 * u :])
        return [z * h + (1 - z) * candidate]
    (c,) = rest
    i, f, g, o = np.split(x + (h * recurrent_mask) @ recurrent, 4, axis=1)
    c = recurrent_activation(f) * c + recurrent_activation(i) * activation(g)
    return [recurrent_activation(o) * activation(c), c]


def forward(kind, x, cores, recurrent, bias=0.0, *, input_mask=None, **options):
    """Run a layer on x (batch, time, features); input_mask (batch, features) is its dropout."""
    if input_mask is not None:
        x = x * input_mask[:, None, :]
    return recur(kind, x @ kernel_by_chain(cores) + bias, recurrent, **options)


def numeric_gradient(loss, arrays, step=1e-5):
    """Central differences of the scalar loss(*arrays), for every entry of every array."""
    gradients = []
    for array in arrays:
        gradient = np.empty_like(array)
        for index in np.ndindex(*array.shape):
            kept = array[index]
            array[index] = kept + step
            above = loss(*arrays)
            array[index] = kept - step
            below = loss(*arrays)
            array[index] = kept
            gradient[index] = (above - below) / (2 * step)
        gradients.append(gradient)
    return gradients


def kernel_by_chain(cores):
    """Kernel of `kernel_by_definition`, for all entries at once."""
    kernel = np.ones((1, 1, 1))  # rows, columns, rank
    for core in cores:
        (rows, columns, _), (_, m, n, rank) = kernel.shape, core.shape
        kernel = np.einsum("xyr,rijs->xiyjs", kernel, core).reshape(rows * m, columns * n, rank)
    return kernel[:, :, 0]


def core_gradients(cores, kernel_gradient):
    """Gradients of the cores from dL/dW by the chain rule; exact, as W is linear in each core."""
    np.testing.assert_allclose(kernel_by_chain(cores), kernel_by_definition(cores), atol=1e-12)
    gradients = []
    for k, core in enumerate(cores):
        gradient = np.empty_like(core)
        for index in np.ndindex(*core.shape):
            unit = np.zeros_like(core)
            unit[index] = 1
            slope = kernel_by_chain([*cores[:k], unit, *cores[k + 1 :]])
            gradient[index] = np.vdot(kernel_gradient, slope)
        gradients.append(gradient)
    return gradients
